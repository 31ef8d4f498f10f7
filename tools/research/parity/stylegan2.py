"""What the comparisons with StyleGAN2's public versions share: weights, inputs, rows, recorded cases."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from pipeline.config.families import StyleGAN2Config
from pipeline.contracts import Batch, Fakes, ImageSpec, Networks
from pipeline.importing import Part
from pipeline.models.foreign import Format, convert
from pipeline.models.registry import build_family
from pipeline.models.stylegan2.game import StyleGAN2Game
from tools.research.parity import FORWARD, GRADIENT, ParityRow, apart, whole
from tools.research.parity.filling import Rule, drawn
from tools.research.parity.recorded import RecordedNetwork, summary

RULES: tuple[Rule, ...] = (
    (r"noise_strength$", 0.05, 0.1),
    (r"mapping\.layers\.\d+\.weight$", 100.0, 0.0),
    (r"mapping\.layers\.\d+\.bias$", 30.0, 0.0),
    (r"affine\.bias$", 0.3, 1.0),
    (r"(w_avg|bias)$", 0.3, 0.0),
)
PSI = 0.7
PLAIN_TURNS = {"path_length_shrink": 1, "style_mixing": 0.0}
"""What turns of StyleGAN2 are compared with."""
PATH_MEAN, R1_GAMMA = 0.5, 10.0

Rename = Callable[[str], str | None]


@dataclass(frozen=True)
class Theirs:
    """A peer's networks. rename: their names to ours. parts: as a file of theirs would hold them. labels:
    class numbers as they take them."""

    generator: nn.Module
    discriminator: nn.Module
    rename: Rename
    parts: Callable[[], dict[str, Part]]
    latents: Callable[[Tensor, Tensor | None], Tensor]
    images: Callable[[Tensor, Tensor | None, float], Tensor]
    logits: Callable[[Tensor, Tensor | None], Tensor]


def as_theirs(ours: str, tensor: Tensor, shape: torch.Size) -> Tensor:
    """A weight or gradient of ours as theirs, and back: up-sampling weights are mirrored."""
    mirrored = re.fullmatch(r"synthesis\.blocks\.[1-9]\d*\.convs\.0\.weight", ours)
    return (tensor.flip([-2, -1]) if mirrored else tensor).reshape(shape)


@torch.no_grad()
def fill(network: nn.Module, rename: Rename, rules: Sequence[Rule] = RULES) -> None:
    """Their network with the weights that `filling` draws by our names."""
    for name, tensor in network.state_dict(keep_vars=True).items():
        ours = rename(name)
        if ours is not None:
            tensor.copy_(as_theirs(ours, drawn(ours, tensor.shape, rules), tensor.shape))


def plain_settings(network: nn.Module) -> dict[str, Any]:
    """The plain attributes of a network's modules by dotted name, as an imported file shows them."""
    return {
        f"{name}.{key}" if name else key: value
        for name, module in network.named_modules()
        for key, value in vars(module).items()
        if value is None or isinstance(value, str | int | float)
    }


def converted(
    theirs: Theirs, known: Format, changes: Mapping[str, Any] = PLAIN_TURNS
) -> tuple[Any, Networks]:
    """Our family and networks from theirs, by the way that `hrgan import` goes. changes: to the settings that
    it finds."""
    _, imported = convert(theirs.parts(), (known,), discriminator=True)
    config = imported.family.model_copy(update=dict(changes))
    family = build_family(config, imported.spec, batch_size=imported.batch_size)
    networks = family.networks()
    networks.generator.load_state_dict(imported.generator)
    assert imported.discriminator is not None
    networks.discriminator.load_state_dict(imported.discriminator)
    return family, networks


def forward_rows(name: str, theirs: Theirs, known: Format, *, images: int, judged: int) -> list[ParityRow]:
    """Mapping, images with and without truncation, and logits."""
    return output_rows(name, theirs, *converted(theirs, known), images=images, judged=judged)


@torch.no_grad()
def output_rows(
    name: str, theirs: Theirs, family: Any, networks: Networks, *, images: int, judged: int
) -> list[ParityRow]:
    """As `forward_rows`, of networks of ours that are made already."""
    generator: Any = networks.generator
    spec = family.spec
    z, labels = drawn("input.0", (images, generator.z_dim)), labels_of(images, spec)
    rows = [ParityRow(name, "w", apart(generator.mapping(z, labels), theirs.latents(z, labels)), FORWARD)]
    for psi in (1.0, PSI):
        ours = generator(z, labels, truncation=psi, exact=True)
        rows.append(
            ParityRow(name, f"images, psi {psi:g}", apart(ours, theirs.images(z, labels, psi)), FORWARD)
        )
    pictures, classes = (
        drawn("input.1", (judged, spec.channels, spec.height, spec.width)),
        labels_of(judged, spec),
    )
    logits = networks.discriminator(pictures, classes, exact=True)
    return [
        *rows,
        ParityRow(name, "logits", apart(logits, theirs.logits(pictures, classes).reshape(-1)), FORWARD),
    ]


def labels_of(count: int, spec: ImageSpec) -> Tensor | None:
    """0, 1, ... of the classes."""
    return torch.arange(count) % spec.classes if spec.classes else None


@dataclass(frozen=True)
class Inputs:
    """What one comparison of gradients feeds both: latents, reals, and the path-length noise."""

    z: Tensor
    reals: Tensor
    noise: Tensor


def gradient_inputs(count: int, spec: ImageSpec, z_dim: int) -> Inputs:
    """`count` samples."""
    shape = (count, spec.channels, spec.height, spec.width)
    return Inputs(drawn("input.0", (count, z_dim)), drawn("input.1", shape), drawn("input.2", shape))


class _Randomness:
    def __init__(self, noise: Tensor) -> None:
        self._noise = noise

    def normal(self, *shape: int) -> Tensor:
        assert self._noise.shape[1:] == shape
        return self._noise

    def first(self, count: int) -> _Randomness:
        return _Randomness(self._noise[:count])


class _ConstantGame(StyleGAN2Game):
    """With given latents and the stored noise."""

    z: Tensor

    def generate(self, count: int, labels: Tensor | None = None, *, exact: bool = False) -> Fakes:
        generator: Any = self.networks.generator
        ws = generator.mapping(self.z[:count], labels)[:, None].expand(-1, generator.layers, -1)
        return Fakes(generator.synthesis(ws, "const", exact=True), labels, ws)


def gradient_rows(
    name: str, theirs: Theirs, known: Format, their_losses: Callable[[str, Inputs], None], count: int
) -> list[ParityRow]:
    """Gradients of each turn: their_losses runs one, "generator", "discriminator", "r1" or "path_length",
    and leaves gradients in their parameters."""
    family, networks = converted(theirs, known)
    family.memory.path_length_mean.fill_(PATH_MEAN)
    inputs = gradient_inputs(count, family.spec, family.config.z_dim)
    game = _ConstantGame(networks, family.schedule.at(0), _Randomness(inputs.noise))  # type: ignore[arg-type]
    object.__setattr__(game, "z", inputs.z)
    rows = []
    for phase in family.phases:
        sides = {"generator": theirs.generator, "discriminator": theirs.discriminator}
        for net, module in networks.items():
            module.requires_grad_(net == phase.trains)
            sides[net].requires_grad_(net == phase.trains).zero_grad(set_to_none=True)
            module.zero_grad(set_to_none=True)
        phase.objective(game, Batch(inputs.reals)).loss.mean().backward()
        with given_noise(inputs.noise):
            their_losses(phase.name, inputs)
        own = dict(networks[phase.trains].named_parameters())
        pairs = gradients_of(own, sides[phase.trains], theirs.rename)
        rows += rows_of_gradients(name, phase.name, pairs)
    return rows


def rows_of_gradients(name: str, turn: str, pairs: Mapping[str, tuple[Tensor, Tensor]]) -> list[ParityRow]:
    """The whole gradient, and the worst of the weights by itself. Biases and noise strengths are sums over
    all pixels, which may cancel: by themselves they would show rounding."""
    weights = [whole([pair]) for pair in pairs.values() if pair[1].ndim > 1 and pair[1].any()]
    return [
        ParityRow(name, f"gradient of {turn}", whole(pairs.values()), GRADIENT),
        ParityRow(name, f"gradient of {turn}, weight by weight", max(weights), GRADIENT),
    ]


def gradients_of(
    ours: Mapping[str, nn.Parameter], theirs: nn.Module, rename: Rename
) -> dict[str, tuple[Tensor, Tensor]]:
    """Both gradients of each parameter, by their names, in our shapes; zeros where there are none."""
    pairs = {}
    for name, parameter in theirs.named_parameters():
        own = ours[str(rename(name))]
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        mine = torch.zeros_like(own) if own.grad is None else own.grad
        pairs[name] = mine, as_theirs(str(rename(name)), gradient.reshape(own.shape), own.shape)
    assert len(pairs) == len(ours)
    return pairs


@contextmanager
def given_noise(noise: Tensor) -> Iterator[None]:
    """Their path-length noise is drawn by `randn_like`: it gets ours."""
    with mock.patch("torch.randn_like", lambda like: noise[: len(like)]):
        yield


def cases(theirs: Callable[[Mapping[str, Any], ImageSpec], Theirs]) -> list[RecordedNetwork]:
    """The recorded cases: a tiny pair with classes, a generator and a discriminator of full size."""
    small = {"z_dim": 24, "w_dim": 16, "mapping_layers": 2, "channel_base": 256, "channel_max": 32}
    faces, half = ImageSpec(1024, 1024, 3), {"channel_base": 16384}
    labelled = ImageSpec(16, 16, 3, 5)
    return [
        _case("tiny generator", small, labelled, "generator", [(3, 24)], theirs),
        _case("tiny discriminator", small, labelled, "discriminator", [(4, 3, 16, 16)], theirs),
        _case("1024px generator", {}, faces, "generator", [(1, 512)], theirs),
        _case(
            "256px discriminator", half, ImageSpec(256, 256, 3), "discriminator", [(4, 3, 256, 256)], theirs
        ),
    ]


@torch.no_grad()
def _case(name: str, changes: Any, spec: ImageSpec, network: Any, inputs: Any, build: Any) -> RecordedNetwork:
    family = {"name": StyleGAN2Config().name, **changes}
    numbers = {key: getattr(spec, key) for key in ("height", "width", "channels", "classes")}
    call = {"truncation": PSI} if network == "generator" else {}
    case = RecordedNetwork(name, family, numbers, network, RULES, inputs, bool(spec.classes), call)
    theirs: Theirs = build(changes, spec)
    first, *more = case.tensors()
    labels = more[0] if more else None
    if network == "generator":
        output = theirs.images(first, labels, PSI)
    else:
        output = theirs.logits(first, labels).reshape(-1)
    return replace(case, given=summary(output))
