"""GAT beside its authors' public code, github.com/hse1032/GAT, whose networks and losses run on a CPU.

Compared are the outputs of all levels, logits and alignment features; the augmentation, with the same
numbers; the chain of noises; and both turns with the alignment and the approximated penalties: their losses,
and all gradients. Their published script trains with a frozen DINOv2; here both have one small network in its
place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.config.families import GATConfig
from pipeline.contracts import Batch, ImageSpec, Net, Networks
from pipeline.dinov2 import DinoV2
from pipeline.models.gat import GAT
from pipeline.models.gat.alignment import TEACHER
from pipeline.models.gat.noise import amounts_of, noised
from tools.research.parity import GRADIENT, ParityRow, apart, whole
from tools.research.parity.filling import Rule, drawn
from tools.research.parity.gat_code import (
    LEVELS,
    RULES,
    Pair,
    feed_augmentation,
    fill,
    importing,
    played,
    their_loss,
    their_networks,
    translated,
)
from tools.research.parity.lockstep.ours import Given
from tools.research.parity.lockstep.supply import Supply
from tools.research.parity.recorded import RecordedNetwork, summary

LANDMARK = "losses/Rp_PT_loss.py"
OUTPUT = 1e-5
"""Largest relative difference of outputs."""


@dataclass(frozen=True)
class Size:
    """What both are made for. label_dim: the hidden width of what compares features with labels."""

    name: str
    width: int
    depth: int
    heads: int
    side: int = 16
    classes: int = 5
    label_dim: int = 48
    features: int = 64
    images: int = 3

    @property
    def config(self) -> GATConfig:
        """Ours."""
        return GATConfig(
            width=self.width,
            depth=self.depth,
            heads=self.heads,
            label_dim=self.label_dim,
            alignment_weight=1.0,
            alignment_features=self.features,
            alignment_translation="published",
            penalty_method="finite_difference",
        )

    @property
    def spec(self) -> ImageSpec:
        return ImageSpec(self.side, self.side, 3, self.classes)


CASES = (
    Size("tiny", 32, 4, 2),
    Size("S at 32 x 32", 384, 12, 6, side=32, classes=1000, label_dim=2048, features=64, images=2),
)


def compare(checkout: Path) -> list[ParityRow]:
    """Every case's rows."""
    with importing(checkout) as made:
        rows = [row for case in CASES for row in compare_case(made, case)]
        return [*rows, *_augmented(made), _noises(made)]


def compare_case(made: Any, case: Size) -> Iterator[ParityRow]:
    """The rows of one size."""
    torch.manual_seed(0)
    theirs = their_networks(made, case.config, case.spec)
    for network in theirs:
        _stir(network)
    family = GAT(case.config, case.spec, batch_size=case.images)
    family.fixtures = {TEACHER: _teacher(case.features)}
    ours = family.networks()
    for (net, network), their in zip(ours.items(), theirs, strict=True):
        network.load_state_dict(translated(net, dict(their.named_parameters())))
    z, labels = torch.randn(case.images, case.config.z_dim), torch.arange(case.images) * 7 % case.classes
    pixels = (torch.rand(case.images, 3, case.side, case.side) * 256).floor()
    reals = Batch(pixels.double() / 127.5 - 1, labels)
    yield from _outputs(case, ours, theirs, z, labels)
    for network in (ours.generator, ours.discriminator, *theirs, *family.fixtures.values()):
        network.double()
    for phase in family.phases:
        yield from _turn(made, case, family, ours, theirs, phase, reals)


@torch.no_grad()
def _stir(network: nn.Module) -> None:
    """Moves what starts at zero, or so near to it that blocks are the identity."""
    for name, parameter in network.named_parameters():
        if name.endswith("bias") and "final_layer.1." not in name:
            parameter.normal_(0, 10 if "latent_embedder" in name else 0.1)
        elif "adaLN" in name:
            parameter.mul_(5)
        elif "norm" in name:
            parameter.add_(torch.randn_like(parameter), alpha=0.1)


@torch.no_grad()
def _outputs(case: Size, ours: Networks, theirs: Pair, z: Tensor, labels: Tensor) -> Iterator[ParityRow]:
    name = case.name
    blank = torch.zeros(len(z), 3, case.side, case.side)
    wanted = theirs[0](blank, labels, z, multiscale=True)
    levels = ours.generator(z, labels)
    for number, (level, theirs_level) in enumerate(zip(levels, wanted, strict=True)):
        yield ParityRow(name, f"generator, output {number + 1}", apart(level, theirs_level), OUTPUT)
    (logits,), features = ours.discriminator(levels, labels, aligned=True)
    judged, extra = theirs[1](wanted, labels, return_aux=True)
    yield ParityRow(name, "discriminator", apart(logits, judged[:, 0]), OUTPUT)
    wanted_features = torch.cat(extra["x_feat"], dim=1)
    yield ParityRow(name, "discriminator, alignment", apart(features, wanted_features), OUTPUT)


class _Wide(Given):
    """Gives the numbers in float64, and notes them as they are."""

    def normal(self, *shape: int) -> Tensor:
        return super().normal(*shape).double()

    def first(self, count: int) -> Given:
        return _Wide(self._name, count, self.draws)


def _turn(
    made: Any, case: Size, family: GAT, ours: Networks, theirs: Pair, phase: Any, reals: Batch
) -> Iterator[ParityRow]:
    """The loss of one turn, and all its gradients, with the numbers that ours drew: in float64, because the
    penalties divide differences of logits by 0.01 and with them their rounding."""
    net: Net = phase.trains
    given = _Wide(f"{case.name}.{net}", len(reals))
    for each, network in ours.items():
        network.requires_grad_(each == net)
    game = family.game(ours, family.schedule.at(0), given, reals)
    terms = phase.objective(game, reals)
    index = 0 if net == "generator" else 1
    for number, network in enumerate(theirs):
        network.requires_grad_(number == index).zero_grad(set_to_none=True)
    teacher = family.fixtures[TEACHER]
    loss = played(their_loss(made, case.config, teacher), theirs, net, reals, given.draws, family.spec)
    yield ParityRow(case.name, f"{net}, loss", apart(terms.loss, loss), OUTPUT)
    torch.autograd.backward(loss.mean())
    named = dict(ours[net].named_parameters())
    gradients = dict(zip(named, torch.autograd.grad(terms.loss.mean(), list(named.values())), strict=True))
    moved = {n: p.grad for n, p in theirs[index].named_parameters() if p.grad is not None}
    wanted = translated(net, moved)
    far = whole((gradients[name], wanted[name]) for name in gradients)
    yield ParityRow(case.name, f"{net}, gradients of its turn", far, GRADIENT)


def _augmented(made: Any) -> Iterator[ParityRow]:
    """The augmentation of images, with given numbers, each kind alone and all together; and what second
    images get of the numbers and means of the first."""
    spec, count = ImageSpec(16, 16, 3), 16
    config = GATConfig()
    images, others = (drawn(f"augmented.{k}", (count, 3, 16, 16)) for k in range(2))
    for policy in ("color", "translation", "cutout", "flip", "color,translation,cutout,flip"):
        kinds = tuple(kind for kind in config.diffaugment if kind in policy.split(","))
        flip = config.flip_p if "flip" in policy else 0.0
        family = GAT(config.model_copy(update={"diffaugment": kinds, "flip_p": flip}), spec, batch_size=count)
        given = Given(f"augmented.{policy}", count)
        ours = family._augment.draw(given, (16, 16)).about(images)
        supply = _only(policy, given.draws[0].values, spec, flips=bool(flip))
        with supply.feeding():
            wanted, numbers = made.augment(images, policy=policy)
            again, _ = made.augment(others, policy=policy, aug_params=numbers)
        supply.finish()
        far = max(apart(ours(images), wanted), apart(ours(others), again))
        yield ParityRow("augmentation", policy, far, OUTPUT)


def _only(policy: str, uniforms: Tensor, spec: ImageSpec, *, flips: bool) -> Supply:
    """What theirs asks for of these kinds."""
    if not flips:
        uniforms = uniforms.clone()
        uniforms[:, 4] = 1.0
    whole_supply, supply = Supply(), Supply()
    feed_augmentation(whole_supply, uniforms, spec)
    wanted = {"color": 4, "translation": 2, "cutout": 2, "flip": 1}
    for kind, count in wanted.items():
        for _ in range(count):
            entry = whole_supply.pop()
            if kind in policy.split(","):
                supply.put(*entry)
    return supply


def _noises(made: Any) -> ParityRow:
    """The chain of noises, with given fresh ones."""
    config = GATConfig()
    levels = [drawn(f"noised.{k}", (3, 3, 16, 16)) for k in range(LEVELS)]
    fresh = [drawn(f"fresh.{k}", (3, 3, 16, 16)) for k in range(LEVELS)]
    amounts = amounts_of(LEVELS, config.noise_signal, config.noise_floor)
    ours = noised(levels, fresh, amounts, (1,) * LEVELS)
    loss = their_loss(made, config)
    wanted, _ = loss.apply_gaussian_list_cumulative(torch.stack(levels), fresh[::-1])
    return ParityRow("noise", "all levels", apart(torch.stack(ours), wanted), OUTPUT)


def _teacher(width: int) -> DinoV2:
    """A DINOv2 of one block, with weights that `filling` draws."""
    block = {
        **{f"norm{k}.{kind}": (width,) for k in (1, 2) for kind in ("weight", "bias")},
        **{f"ls{k}.gamma": (width,) for k in (1, 2)},
        **{"attn.qkv.weight": (3 * width, width), "attn.qkv.bias": (3 * width,)},
        **{"attn.proj.weight": (width, width), "attn.proj.bias": (width,)},
        **{"mlp.fc1.weight": (4 * width, width), "mlp.fc1.bias": (4 * width,)},
        **{"mlp.fc2.weight": (width, 4 * width), "mlp.fc2.bias": (width,)},
    }
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 1 + 37**2, width),
        "patch_embed.proj.weight": (width, 3, 14, 14),
        "patch_embed.proj.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
        **{f"blocks.0.{name}": shape for name, shape in block.items()},
    }
    rules: list[Rule] = [(r"norm\d?\.weight|gamma", 0.1, 1.0), (r"weight", 0.1, 0.0)]
    tensors = {name: drawn(f"teacher.{name}", shape, rules) for name, shape in shapes.items()}
    return DinoV2(tensors, resampling="filtered")


_TINY = {"name": GATConfig().name, "width": 32, "depth": 4, "heads": 2, "label_dim": 48}
_ALIGNED = {**_TINY, "alignment_weight": 1.0, "alignment_features": 24}
_RECORDED: tuple[tuple[str, dict[str, Any], Net, list[int], list[int], dict[str, Any]], ...] = (
    ("tiny generator, gat, first level", _TINY, "generator", [4, 64], [0], {}),
    ("tiny generator, gat, last level", _TINY, "generator", [4, 64], [3], {}),
    ("tiny discriminator, gat", _TINY, "discriminator", [4, 4, 3, 16, 16], [0, 0], {}),
    (
        "tiny discriminator, gat, alignment",
        _ALIGNED,
        "discriminator",
        [4, 4, 3, 16, 16],
        [1],
        {"aligned": True},
    ),
)


def record(checkout: Path) -> list[RecordedNetwork]:
    """The outputs that tests keep."""
    with importing(checkout) as made:
        return [_recorded(made, *row) for row in _RECORDED]


@torch.no_grad()
def _recorded(
    made: Any,
    name: str,
    changes: dict[str, Any],
    net: Net,
    shape: list[int],
    part: list[int],
    call: dict[str, Any],
) -> RecordedNetwork:
    spec = {"height": 16, "width": 16, "channels": 3, "classes": 5}
    recorded = RecordedNetwork(name, changes, spec, net, RULES, [shape], True, call, part=part)
    index = 0 if net == "generator" else 1
    theirs = their_networks(made, GATConfig(**changes), ImageSpec(16, 16, 3, 5))[index]
    fill(net, theirs)
    first, labels = recorded.tensors()
    if net == "generator":
        output = theirs(torch.zeros(len(first), 3, 16, 16), labels, first, multiscale=True)[part[0]]
    else:
        judged = theirs(first, labels, return_aux=True)
        output = torch.cat(judged[1]["x_feat"], dim=1) if call else judged[0][:, 0]
    return replace(recorded, given=summary(output))
