"""BigGAN and BigGAN-deep beside their authors' public code, github.com/ajbrock/BigGAN-PyTorch.

Theirs is initialised, its buffers and gains moved off their start; its state dict goes through
`pipeline.models.biggan.foreign` into ours, so that names, nesting and power iteration are compared as well.
"""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.config.families import BigGANConfig
from pipeline.losses import ADVERSARIAL
from pipeline.models.biggan.discriminator import Discriminator
from pipeline.models.biggan.foreign import from_ajbrock, infer
from pipeline.models.biggan.generator import Generator
from pipeline.models.biggan.shape import shape_of
from tools.parity import FORWARD, GRADIENT, Row, apart
from tools.peers import isolated

PEER = "biggan-pytorch"
LANDMARK = "BigGANdeep.py"
Pair = tuple[Any, ...]  # generator and, where there is one, discriminator
Makers = tuple[Callable[[], Tensor], Callable[[], Tensor]]  # images of ours, of theirs
Judges = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]  # logits
_SETTLING = 30  # uses after which a power iteration from chance has settled


@dataclass(frozen=True)
class Case:
    """One network of theirs. module: the file that it is in. attention: of the generator; the
    discriminator's is at 64px. judges: whether their discriminator exists at this resolution."""

    module: str
    resolution: int
    ch: int
    z_dim: int
    attention: str = "64"
    images: int = 2
    classes: int = 1000
    judges: bool = True

    @property
    def name(self) -> str:
        return f"{Path(self.module).stem} {self.resolution}px, ch {self.ch}"


CASES = (
    Case("BigGAN.py", 32, 64, 128, images=4, classes=10),
    Case("BigGAN.py", 64, 64, 120),
    Case("BigGAN.py", 128, 96, 120),
    Case("BigGANdeep.py", 128, 128, 128),
    Case("BigGAN.py", 256, 96, 140, attention="128", images=1),
    Case("BigGANdeep.py", 256, 128, 128, images=1),
    Case("BigGAN.py", 512, 96, 160, images=1, judges=False),
)


def compare(checkout: Path) -> list[Row]:
    """Every case's outputs in training and in eval mode, and the gradients of the hinge losses."""
    rows: list[Row] = []
    with isolated(checkout):
        for case in CASES:
            rows += list(compare_case(importlib.import_module(Path(case.module).stem), case))
    return rows


def compare_case(module: Any, case: Case) -> Iterator[Row]:
    """The rows of one case."""
    torch.manual_seed(0)
    theirs = _their_networks(module, case)
    ours = _our_networks(theirs, case)
    z, labels = torch.randn(case.images, case.z_dim), torch.arange(case.images) * 7 % case.classes
    reals = torch.rand(case.images, 3, case.resolution, case.resolution) * 2 - 1
    make: Makers = (
        lambda: ours[0](z, labels),
        lambda: theirs[0](z, theirs[0].shared(labels)),
    )
    with torch.no_grad():
        yield Row(case.name, "generator, training", apart(*_both(make)), FORWARD)
    if case.judges:
        yield from _judged(case, ours, theirs, make, reals, labels)
    else:
        yield from _derived(case, "generator", (ours[0], theirs[0]), [f().square().mean() for f in make])
    yield from _settled(case, ours, theirs, make, reals, labels)


def _judged(
    case: Case,
    ours: Pair,
    theirs: Pair,
    make: Makers,
    reals: Tensor,
    labels: Tensor,
) -> Iterator[Row]:
    """The discriminator on reals, and one turn of each network by the hinge losses."""
    hinge = ADVERSARIAL["hinge"]
    with torch.no_grad():
        fakes = [f() for f in make]
    judge: Judges = (lambda x: ours[1](x, labels).logits, lambda x: theirs[1](x, labels)[:, 0])
    logits = [(f(fake), f(reals)) for f, fake in zip(judge, fakes, strict=True)]
    yield Row(case.name, "discriminator, training", apart(*(real for _, real in logits)), FORWARD)
    losses = [hinge.discriminator(real, fake).mean() for fake, real in logits]
    yield from _derived(case, "discriminator", (ours[1], theirs[1]), losses)
    losses = [-f(images()).mean() for f, images in zip(judge, make, strict=True)]
    yield from _derived(case, "generator", (ours[0], theirs[0]), losses)


def _settled(
    case: Case,
    ours: Pair,
    theirs: Pair,
    make: Makers,
    reals: Tensor,
    labels: Tensor,
) -> Iterator[Row]:
    """Eval mode, in which theirs takes one more step of power iteration and ours none: once the vectors
    have settled, that is the same."""
    for ours_net, theirs_net in zip(ours, theirs, strict=True):
        _settle(theirs_net)
        state = {name: value.clone() for name, value in theirs_net.state_dict().items()}
        ours_net.load_state_dict(from_ajbrock(state))
        ours_net.eval()
        theirs_net.eval()
    with torch.no_grad():
        yield Row(case.name, "generator, evaluation", apart(*_both(make)), FORWARD)
        if case.judges:
            pair = ours[1](reals, labels).logits, theirs[1](reals, labels)[:, 0]
            yield Row(case.name, "discriminator, evaluation", apart(*pair), FORWARD)


@torch.no_grad()
def _settle(network: Any) -> None:
    for module in network.modules():
        if hasattr(module, "W_"):
            for _ in range(_SETTLING):
                module.W_()


def _derived(case: Case, net: str, pair: tuple[Any, Any], losses: list[Tensor]) -> Iterator[Row]:
    """The gradients of a loss by all parameters; the largest difference, each against its own peak, or a
    thousandth of the largest where rounding is all there is (biases before a normalisation)."""
    ours, theirs = (dict(network.named_parameters()) for network in pair)
    found = _gradients(ours, losses[0])
    wanted = from_ajbrock({**_gradients(theirs, losses[1]), "marker.u0": torch.zeros(1)})
    peak = max(float(g.abs().max()) for g in wanted.values())
    far = [
        float((gradient - wanted[name]).abs().max()) / max(float(wanted[name].abs().max()), 1e-3 * peak)
        for name, gradient in found.items()
    ]
    yield Row(case.name, f"{net}, gradients of its loss", max(far), GRADIENT)


def _gradients(parameters: Mapping[str, nn.Parameter], loss: Tensor) -> dict[str, Tensor]:
    gradients = torch.autograd.grad(loss, list(parameters.values()))
    return dict(zip(parameters, gradients, strict=True))


def _both(make: Makers) -> tuple[Tensor, Tensor]:
    return make[0](), make[1]()


def _their_networks(module: Any, case: Case) -> Pair:
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


def _our_networks(theirs: Pair, case: Case) -> Pair:
    states = [{name: value.clone() for name, value in net.state_dict().items()} for net in theirs]
    fields, spec = infer(states[0])
    shape = shape_of(BigGANConfig(**fields), spec, None)
    networks: list[Any] = [Generator(shape)]
    if case.judges:
        networks.append(Discriminator(shape))
    for network, state in zip(networks, states, strict=True):
        network.load_state_dict(from_ajbrock(state))
    return tuple(networks)
