"""R3GAN beside its authors' public code, github.com/brownvc/R3GAN, whose plain operations run on a CPU.

Theirs is initialised and moved off its start, where residual blocks are the identity; its parameters are
put into ours. Compared are images, logits, and the gradients of both turns: the relativistic loss, in the
discriminator's with R1 and R2.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.torch_version import TorchVersion

from pipeline.config.families import R3GANConfig
from pipeline.contracts import Batch, Fakes, Game, ImageSpec, Net, Networks, Terms, Verdict
from pipeline.models.r3gan import R3GAN
from tools.research.modules import isolated
from tools.research.parity import FORWARD, GRADIENT, ParityRow, apart, whole
from tools.research.parity.filling import Rule, drawn
from tools.research.parity.recorded import RecordedNetwork, summary

LANDMARK = "R3GAN/Trainer.py"


@dataclass(frozen=True)
class Preset:
    """One of their presets. images: how many at once."""

    name: str
    widths: tuple[int, ...]
    cardinalities: tuple[int, ...]
    gamma: float
    classes: int = 0
    images: int = 2

    @property
    def resolution(self) -> int:
        return 4 << (len(self.widths) - 1)


_INNER = {
    "LinearLayer.Layer.weight": "conv.weight",
    "LinearLayer1.Layer.weight": "widen.weight",
    "LinearLayer2.Layer.weight": "mix.weight",
    "LinearLayer3.Layer.weight": "narrow.weight",
    "NonLinearity1.Bias": "bias_widen",
    "NonLinearity2.Bias": "bias_mix",
}
"""Our names of what a stage holds, by theirs."""

CASES = (
    Preset("CIFAR10", (768,) * 4, (96,) * 4, 0.05, classes=10),
    Preset("FFHQ-256", (768, 768, 768, 768, 384, 192, 96), (96, 96, 96, 96, 48, 24, 12), 150, images=1),
)


class Played:
    """Our game with latents that are given, not drawn; nothing is augmented."""

    def __init__(self, family: R3GAN, networks: Networks, z: Tensor) -> None:
        self.networks, self.z = networks, z
        self.stage = family.schedule.at(0)
        self.randomness: Any = None

    def present(self, reals: Batch) -> Batch:
        return reals

    def generate(self, count: int, labels: Tensor | None = None, *, exact: bool = False) -> Fakes:
        return Fakes(self.networks.generator(self.z, labels, exact=exact), labels, self.z)

    def judge(self, images: Tensor, labels: Tensor | None, *, exact: bool = False) -> Verdict:
        verdict: Verdict = self.networks.discriminator(images, labels, exact=exact)
        return verdict

    def judge_both(self, fakes: Fakes, reals: Batch, *, exact: bool = False) -> tuple[Verdict, Verdict]:
        fake = self.judge(fakes.images, fakes.labels, exact=exact)
        return fake, self.judge(reals.images, reals.labels, exact=exact)


def compare(checkout: Path) -> list[ParityRow]:
    """Every case's outputs and gradients."""
    with importing(checkout) as (networks, trainer):
        return [row for case in CASES for row in compare_case(networks, trainer, case)]


@contextmanager
def importing(checkout: Path) -> Iterator[tuple[Any, Any]]:
    """Their networks and their losses."""
    with isolated(checkout, stand_ins=("requests", "pkg_resources")):
        versions: Any = importlib.import_module("pkg_resources")
        if not hasattr(versions, "parse_version"):  # a stand-in: setuptools no longer brings it
            versions.parse_version = TorchVersion
        yield importlib.import_module("R3GAN.Networks"), importlib.import_module("R3GAN.Trainer")


def compare_case(networks: Any, trainer: Any, case: Preset) -> Iterator[ParityRow]:
    """The rows of one case."""
    torch.manual_seed(0)
    theirs = _their_networks(networks, case)
    family, ours = _our_networks(theirs, case)
    z = torch.randn(case.images, 64)
    reals = torch.rand(case.images, 3, case.resolution, case.resolution) * 2 - 1
    labels = torch.arange(case.images) * 3 % case.classes if case.classes else None
    onehot = None if labels is None else F.one_hot(labels, case.classes).float()
    with torch.no_grad():
        fakes = ours.generator(z, labels), theirs[0](z, onehot)
        yield ParityRow(case.name, "generator", apart(*fakes), FORWARD)
        logits = ours.discriminator(reals, labels).logits, theirs[1](reals, onehot)
        yield ParityRow(case.name, "discriminator", apart(*logits), FORWARD)
    game: Game = Played(family, ours, z)
    turns = trainer.AdversarialTraining(*theirs)
    played: tuple[Callable[[], object], ...] = (
        lambda: turns.AccumulateDiscriminatorGradients(z, reals, onehot, case.gamma),
        lambda: turns.AccumulateGeneratorGradients(z, reals, onehot),
    )
    for phase, play in zip(family.phases, played, strict=True):
        index = 0 if phase.trains == "generator" else 1
        theirs[index].zero_grad(set_to_none=True)
        play()
        terms: Terms = phase.objective(game, Batch(reals, labels))
        far = _derived(ours[phase.trains], theirs[index], terms.loss.mean())
        yield ParityRow(case.name, f"{phase.trains}, gradients of its turn", far, GRADIENT)


def _derived(ours: nn.Module, theirs: Any, loss: Tensor) -> float:
    """The difference of the whole gradients."""
    named = dict(ours.named_parameters())
    gradients = dict(zip(named, torch.autograd.grad(loss, list(named.values())), strict=True))
    wanted = translated({name: p.grad for name, p in theirs.named_parameters()})
    return whole((gradients[name], wanted[name]) for name in gradients)


def translated(theirs: Mapping[str, Any]) -> dict[str, Tensor]:
    """Their parameters, or gradients, by our names and in our shapes."""
    generates = "AggregationLayer.Layer.weight" in theirs
    ours = {}
    for name, value in theirs.items():
        if name == "EmbeddingLayer.weight":
            value = value.t()
        elif name.endswith("Basis.weight"):
            value = value.squeeze(1)
        ours[_our_name(name, generates)] = value.detach().clone()
    return ours


def _our_name(name: str, generates: bool) -> str:
    if name == "EmbeddingLayer.weight":
        return "embed.weight"
    if not name.startswith("MainLayers."):
        return "to_image.weight" if generates else "from_image.weight"
    _, stage, _, layer, inner = name.split(".", 4)
    if inner in ("Basis", "Basis.weight", "LinearLayer.weight"):
        part = "weight" if inner == "LinearLayer.weight" else "images"
        return f"{'basis' if generates else 'head'}.{part}"
    before = 1 if generates and stage == "0" else 0  # their basis is a layer of the first stage
    return f"stages.{stage}.{int(layer) - before}.{_INNER[inner]}"


def _their_networks(networks: Any, case: Preset) -> tuple[Any, Any]:
    blocks = [2] * len(case.widths)
    labelled = {"ConditionDimension": case.classes} if case.classes else {}
    made = networks.Generator(
        64, list(case.widths), list(case.cardinalities), blocks, 2,
        ConditionEmbeddingDimension=64 if case.classes else 0, **labelled,
    ), networks.Discriminator(
        list(case.widths[::-1]), list(case.cardinalities[::-1]), blocks, 2,
        ConditionEmbeddingDimension=case.widths[0] if case.classes else 0, **labelled,
    )  # fmt: skip
    for network in made:
        _stir(network)
    return made


@torch.no_grad()
def _stir(network: nn.Module) -> None:
    """Biases and last layers of blocks, which start at zero."""
    for parameter in network.parameters():
        if not parameter.any():
            fan_in = parameter[0].numel()
            parameter.normal_(0, 0.3 / fan_in**0.5)


def _our_networks(theirs: tuple[Any, Any], case: Preset) -> tuple[R3GAN, Networks]:
    config = R3GANConfig(
        widths=case.widths,
        cardinalities=case.cardinalities,
        blocks=(2,) * len(case.widths),
        r1_gamma=case.gamma,
        r2_gamma=case.gamma,
    )
    spec = ImageSpec(case.resolution, case.resolution, 3, case.classes)
    family = R3GAN(config, spec, batch_size=case.images)
    ours = family.networks()
    for (_, network), their in zip(ours.items(), theirs, strict=True):
        network.load_state_dict(translated(dict(their.named_parameters())))
    return family, ours


RULES: tuple[Rule, ...] = (
    (r"(widen|mix|narrow|conv)\.weight$", 0.1, 0.0),
    (r"(basis|head)\.weight$", 0.1, 0.0),
    (r"bias", 0.3, 0.0),
)
"""Scales at which signals neither vanish nor run away, from 16 channels to 768."""

_TINY = {
    "name": R3GANConfig().name,
    "z_dim": 64,
    "widths": [32, 16, 16],
    "cardinalities": [8, 4, 4],
    "blocks": [2, 2, 2],
}
_RECORDED: tuple[tuple[str, dict[str, Any], int, Net, list[int]], ...] = (
    ("tiny generator, r3gan", _TINY, 5, "generator", [3, 64]),
    ("tiny discriminator, r3gan", _TINY, 5, "discriminator", [3, 3, 16, 16]),
    ("256px generator, r3gan", {"name": R3GANConfig().name}, 0, "generator", [1, 64]),
)


def record(checkout: Path) -> list[RecordedNetwork]:
    """The outputs that tests keep."""
    with importing(checkout) as (networks, _):
        return [_recorded(networks, *row) for row in _RECORDED]


@torch.no_grad()
def _recorded(
    networks: Any, name: str, changes: dict[str, Any], classes: int, net: Net, shape: list[int]
) -> RecordedNetwork:
    config = R3GANConfig(**changes)
    case = Preset(name, config.widths, config.cardinalities, 0.0, classes)
    side = case.resolution
    spec = {"height": side, "width": side, "channels": 3, "classes": classes}
    recorded = RecordedNetwork(name, changes, spec, net, RULES, [shape], bool(classes))
    theirs = _their_networks(networks, case)[0 if net == "generator" else 1]
    fill(theirs, generates=net == "generator")
    first, *labels = recorded.tensors()
    onehot = F.one_hot(labels[0], classes).float() if labels else None
    return replace(recorded, given=summary(theirs(first, onehot)))


@torch.no_grad()
def fill(theirs: nn.Module, *, generates: bool) -> None:
    """A network of theirs with the weights that `filling` draws by our names."""
    for key, parameter in theirs.named_parameters():
        turned = key == "EmbeddingLayer.weight"
        size = parameter.shape[::-1] if turned else parameter.shape
        value = drawn(_our_name(key, generates), size, RULES)
        parameter.copy_(value.t() if turned else value)
