"""BigGAN and BigGAN-deep beside their authors' public code, github.com/ajbrock/BigGAN-PyTorch.

Theirs is initialised, its buffers and gains moved off their start; its state dict goes through
`pipeline.models.biggan.foreign` into ours, so that names, nesting and power iteration are compared as well.
"""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.config.families import BigGANConfig
from pipeline.contracts import Net
from pipeline.losses import ADVERSARIAL
from pipeline.models.biggan.discriminator import Discriminator
from pipeline.models.biggan.foreign import from_ajbrock, infer
from pipeline.models.biggan.generator import Generator
from pipeline.models.biggan.shape import shape_of
from tools.research.modules import isolated
from tools.research.parity import FORWARD, GRADIENT, ParityRow, apart
from tools.research.parity.filling import Rule, drawn
from tools.research.parity.recorded import RecordedNetwork, summary

PEER = "biggan-pytorch"
LANDMARK = "BigGANdeep.py"
Pair = tuple[Any, ...]  # generator and, where there is one, discriminator
Makers = tuple[Callable[[], Tensor], Callable[[], Tensor]]  # images of ours, of theirs
Judges = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]  # logits


@dataclass(frozen=True)
class TheirNetwork:
    """One network of theirs. module: the file that it is in. attention: of the generator; the
    discriminator's is at 64px. judges: whether their discriminator exists at this resolution.
    derives: whether gradients are compared, which takes twice the memory."""

    module: str
    resolution: int
    ch: int
    z_dim: int
    attention: str = "64"
    images: int = 2
    classes: int = 1000
    judges: bool = True
    derives: bool = True

    @property
    def name(self) -> str:
        return f"{Path(self.module).stem} {self.resolution}px, ch {self.ch}"


CASES = (
    TheirNetwork("BigGAN.py", 32, 64, 128, images=4, classes=10),
    TheirNetwork("BigGAN.py", 64, 64, 120),
    TheirNetwork("BigGAN.py", 128, 96, 120),
    TheirNetwork("BigGANdeep.py", 128, 128, 128),
    TheirNetwork("BigGAN.py", 256, 96, 140, attention="128", images=1, derives=False),
    TheirNetwork("BigGANdeep.py", 256, 128, 128, images=1, derives=False),
    TheirNetwork("BigGAN.py", 512, 96, 160, images=1, judges=False, derives=False),
)


def compare(checkout: Path) -> list[ParityRow]:
    """Every case's outputs in training and in eval mode, and the gradients of the hinge losses."""
    rows: list[ParityRow] = []
    with isolated(checkout):
        for case in CASES:
            rows += list(compare_case(importlib.import_module(Path(case.module).stem), case))
    return rows


def compare_case(module: Any, case: TheirNetwork) -> Iterator[ParityRow]:
    """The rows of one case."""
    torch.manual_seed(0)
    theirs = _their_networks(module, case)
    ours = _our_networks(theirs, case)
    z, labels = torch.randn(case.images, case.z_dim), torch.arange(case.images) * 7 % case.classes
    reals = torch.rand(case.images, 3, case.resolution, case.resolution) * 2 - 1
    yield from _outputs(case, "training", ours, theirs, z, reals, labels)
    # In eval mode theirs takes one more step of power iteration and ours none: of a settled vector the same.
    for ours_net, theirs_net in zip(ours, theirs, strict=True):
        _settle(theirs_net)
        ours_net.load_state_dict(from_ajbrock({k: v.clone() for k, v in theirs_net.state_dict().items()}))
        ours_net.eval()
        theirs_net.eval()
    yield from _outputs(case, "evaluation", ours, theirs, z, reals, labels)
    if case.derives:
        for network in (*ours, *theirs):
            network.train().double()
        yield from _gradient_rows(case, ours, theirs, z.double(), reals.double(), labels)


@torch.no_grad()
def _outputs(
    case: TheirNetwork, mode: str, ours: Pair, theirs: Pair, z: Tensor, reals: Tensor, labels: Tensor
) -> Iterator[ParityRow]:
    images = ours[0](z, labels), theirs[0](z, theirs[0].shared(labels))
    yield ParityRow(case.name, f"generator, {mode}", apart(*images), FORWARD)
    if case.judges:
        logits = ours[1](reals, labels).logits, theirs[1](reals, labels)[:, 0]
        yield ParityRow(case.name, f"discriminator, {mode}", apart(*logits), FORWARD)


def _gradient_rows(
    case: TheirNetwork, ours: Pair, theirs: Pair, z: Tensor, reals: Tensor, labels: Tensor
) -> Iterator[ParityRow]:
    """One turn of each network by the hinge losses, in float64: in float32 a ReLU on the edge of 0 that falls
    to the other side by rounding moves gradients of the generator by up to a hundredth, and says nothing."""
    hinge = ADVERSARIAL["hinge"]
    make: Makers = (lambda: ours[0](z, labels), lambda: theirs[0](z, theirs[0].shared(labels)))
    judge: Judges = (lambda x: ours[1](x, labels).logits, lambda x: theirs[1](x, labels)[:, 0])
    with torch.no_grad():
        fakes = [images() for images in make]
    losses = [hinge.discriminator(f(reals), f(fake)).mean() for f, fake in zip(judge, fakes, strict=True)]
    yield _derived(case, "discriminator", (ours[1], theirs[1]), losses)
    losses = [-f(images()).mean() for f, images in zip(judge, make, strict=True)]
    yield _derived(case, "generator", (ours[0], theirs[0]), losses)


@torch.no_grad()
def _settle(network: Any) -> None:
    """Moves every vector to the largest singular value's, from the smaller of the two Gram matrices."""
    for module in network.modules():
        if hasattr(module, "W_"):
            matrix = module.weight.flatten(1)
            tall = matrix.shape[0] > matrix.shape[1]
            _, vectors = torch.linalg.eigh(matrix.t() @ matrix if tall else matrix @ matrix.t())
            u = matrix @ vectors[:, -1] if tall else vectors[:, -1]
            module.u0.copy_(u / u.norm())


def _derived(case: TheirNetwork, net: str, pair: tuple[Any, Any], losses: list[Tensor]) -> ParityRow:
    """The gradients of a loss by all parameters: the largest difference, each against its own peak, or a
    millionth of the largest where it is 0 (biases before a normalisation)."""
    ours, theirs = (dict(network.named_parameters()) for network in pair)
    mine = _gradients(ours, losses[0])
    wanted = from_ajbrock({**_gradients(theirs, losses[1]), "marker.u0": torch.zeros(1)})
    floor = 1e-6 * max(float(g.abs().max()) for g in wanted.values())
    far = [
        float((gradient - wanted[name]).abs().max()) / max(float(wanted[name].abs().max()), floor)
        for name, gradient in mine.items()
    ]
    return ParityRow(case.name, f"{net}, gradients of its loss", max(far), GRADIENT)


def _gradients(parameters: Mapping[str, nn.Parameter], loss: Tensor) -> dict[str, Tensor]:
    gradients = torch.autograd.grad(loss, list(parameters.values()))
    return dict(zip(parameters, gradients, strict=True))


def _their_networks(module: Any, case: TheirNetwork) -> Pair:
    common = {"resolution": case.resolution, "n_classes": case.classes, "SN_eps": 1e-6, "BN_eps": 1e-5}
    with contextlib.redirect_stdout(io.StringIO()):
        networks = [
            module.Generator(
                G_ch=case.ch, dim_z=case.z_dim, G_attn=case.attention, hier=True, G_shared=True,
                shared_dim=128, no_optim=True, skip_init=True, **common,
            )
        ]  # fmt: skip
        if case.judges:
            networks.append(module.Discriminator(D_ch=case.ch, skip_init=True, **common))
    for network in networks:
        _stir(network)
    return tuple(networks)


@torch.no_grad()
def _stir(network: Any) -> None:
    """Gains, biases and running statistics that a start at 0 or 1 would hide."""
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        if tensor.ndim < 2 and not name.endswith(("sv0", "accumulation_counter")):
            tensor.add_(torch.rand_like(tensor) * 0.5)


def _our_networks(theirs: Pair, case: TheirNetwork) -> Pair:
    states = [{name: value.clone() for name, value in net.state_dict().items()} for net in theirs]
    fields, spec = infer(states[0])
    shape = shape_of(BigGANConfig(**fields), spec, None)
    networks: list[Any] = [Generator(shape)]
    if case.judges:
        networks.append(Discriminator(shape))
    for network, state in zip(networks, states, strict=True):
        network.load_state_dict(from_ajbrock(state))
    return tuple(networks)


RULES: tuple[Rule, ...] = (
    (r"(gain|bias)\.weight$", 0.3, 0.0),
    (r"norm\.gain$", 0.3, 1.0),
    (r"(bias|gamma)$", 0.3, 0.3),
    (r"running_var$", 0.2, 1.0),
)
_SMALL = TheirNetwork("BigGAN.py", 32, 4, 32, images=4, classes=5)
_SMALL_DEEP = replace(_SMALL, module="BigGANdeep.py", ch=8)
_RECORDED: tuple[tuple[str, TheirNetwork, Net], ...] = (
    ("tiny generator, biggan", _SMALL, "generator"),
    ("tiny discriminator, biggan", _SMALL, "discriminator"),
    ("tiny generator, biggan-deep", _SMALL_DEEP, "generator"),
    ("tiny discriminator, biggan-deep", _SMALL_DEEP, "discriminator"),
)


def record(checkout: Path) -> list[RecordedNetwork]:
    """The outputs that tests keep: in training mode, where both take one step of power iteration."""
    with isolated(checkout):
        return [
            _recorded(importlib.import_module(Path(case.module).stem), name, case, net)
            for name, case, net in _RECORDED
        ]


@torch.no_grad()
def _recorded(module: Any, name: str, case: TheirNetwork, net: Net) -> RecordedNetwork:
    theirs = _their_networks(module, case)
    fields, spec = infer(theirs[0].state_dict())
    numbers = {key: getattr(spec, key) for key in ("height", "width", "channels", "classes")}
    generates = net == "generator"
    shape = [case.images, case.z_dim] if generates else [case.images, 3, case.resolution, case.resolution]
    recorded = RecordedNetwork(name, fields, numbers, net, RULES, [shape], labelled=True, training=True)
    network = theirs[0 if generates else 1].train()
    fill(network)
    first, labels = recorded.tensors()
    output = network(first, network.shared(labels)) if generates else network(first, labels)[:, 0]
    return replace(recorded, given=summary(output))


@torch.no_grad()
def fill(theirs: nn.Module) -> None:
    """A network of theirs with the weights and buffers that `filling` draws by our names."""
    for key, tensor in theirs.state_dict(keep_vars=True).items():
        own = _name_of(theirs, key)
        if own is not None:
            tensor.copy_(drawn(own, tensor.shape, RULES))


def _name_of(network: nn.Module, key: str) -> str | None:
    """Our name of a tensor of theirs; None for what ours has no use of."""
    state = network.state_dict()
    marked = from_ajbrock({**{name: torch.zeros(1) for name in state}, key: torch.ones(1)})
    return next((name for name, value in marked.items() if value.any()), None)
