"""GAT's public code from a checkout: its parameters by our names, and its turns with numbers of ours."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from pipeline.config.families import GATConfig
from pipeline.contracts import Batch, ImageSpec, Net
from tools.research.modules import isolated
from tools.research.parity.filling import Rule, drawn
from tools.research.parity.lockstep.ours import Draw
from tools.research.parity.lockstep.supply import Supply

Pair = tuple[Any, Any]  # their generator and discriminator

RULES: tuple[Rule, ...] = (
    (r"norm\.weight$", 0.1, 1.0),
    (r"(^|\.)(mlp_)?scale$", 0.1, 0.3),
    (r"embed\.weight$", 1.0, 0.0),
    (r"(first|second)\.weight$", 15.0, 0.0),
    (r"(first|second)\.bias$", 10.0, 0.0),
    (r"class_tokens", 0.3, 0.0),
    (r"bias$", 0.1, 0.0),
    (r"weight$", 0.15, 0.0),
)
"""Scales at which signals neither vanish nor run away in 32 channels."""

_BLOCK = {
    "attn.qkv": "attention.qkv",
    "attn.q_norm": "attention.query_norm",
    "attn.k_norm": "attention.key_norm",
    "attn.proj": "attention.out",
    "mlp.w12": "mlp.gates",
    "mlp.w3": "mlp.out",
    "adaLN_modulation.1": "modulation",
    "norm1": "norm",
    "norm2": "mlp_norm",
    "ls_attn": "scale",
    "ls_mlp": "mlp_scale",
}
_GENERATOR = {
    "y_embedder.embedding_table": "mapping.embed",
    "latent_embedder.0": "mapping.first",
    "latent_embedder.2": "mapping.second",
}
_DISCRIMINATOR = {
    "x_embedder.proj": "embeds.0",
    "y_embedder.embedding_table": "label.embed",
    "y_embedder.latent_embedder.0": "label.first",
    "y_embedder.latent_embedder.2": "label.second",
    "final_layer.0": "norm",
    "final_layer.1": "out",
    **{f"proj.{layer}": f"aligner.{layer}" for layer in (0, 2, 4)},
}
_UNUSED = {
    "generator": ("x_embedder.", "pos_embed"),
    "discriminator": ("final_layer.1.bias", "pos_embed"),
}
"""Parameters of theirs that ours lacks: tables of positions, which do not learn; an embedding of an image
that is multiplied by 0; and a bias that cancels between a real and a fake of one label."""


def our_name(net: Net, theirs: str) -> str | None:
    """The name of a parameter of theirs in our networks; None if ours has none."""
    if theirs.startswith(_UNUSED[net]):
        return None
    if theirs == "cls_token":
        return "class_tokens"
    start = "synthesis." if net == "generator" else ""
    kind, _, rest = theirs.partition(".")
    if kind == "blocks":
        number, _, inner = rest.partition(".")
        return f"{start}blocks.{number}.{_renamed(inner, _BLOCK)}"
    if kind == "final_layers":
        number, _, inner = rest.partition(".")
        return f"{start}heads.{number}.{_renamed(inner, {**_BLOCK, 'linear': 'out'})}"
    return _renamed(theirs, _GENERATOR if net == "generator" else _DISCRIMINATOR)


def _renamed(name: str, names: Mapping[str, str]) -> str:
    if name in names:
        return names[name]
    layer, _, kind = name.rpartition(".")
    return f"{names[layer]}.{kind}"


def translated(net: Net, named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their parameters, gradients or moments by our names, in shapes of ours."""
    ours = {}
    for theirs, value in named.items():
        name = our_name(net, theirs)
        if name is not None:
            ours[name] = (
                value.detach().reshape(-1, value.shape[-1]) if name == "class_tokens" else value.detach()
            )
            if name == "embeds.0.weight":
                ours[name] = ours[name].flatten(1)
    return ours


@torch.no_grad()
def fill(net: Net, network: nn.Module, rules: Sequence[Rule] = RULES) -> None:
    """A network of theirs with the weights that `filling` draws by our names; what ours lacks stays."""
    for theirs, parameter in network.named_parameters():
        name = our_name(net, theirs)
        if name is not None:
            parameter.copy_(drawn(name, parameter.shape, rules))


@contextmanager
def importing(checkout: Path) -> Iterator[Any]:
    """Their networks and losses: a namespace of `GAT`, `GATD`, `losses`, `augment`. Rotations are not
    compiled; of timm, which may be missing, the patch embedding and two constants stand in."""
    importlib.import_module("torch.utils.checkpoint")  # which they take for granted
    with ExitStack() as stack:
        stack.enter_context(_with_timm())
        stack.enter_context(isolated(checkout))
        with mock.patch.object(torch, "compile", return_value=lambda function: function):
            yield SimpleNamespace(
                GAT=importlib.import_module("models.generator").GAT,
                GATD=importlib.import_module("models.discriminator").GATD,
                losses=importlib.import_module("losses"),
                augment=importlib.import_module("losses.diffaug").DiffAugment,
            )


@contextmanager
def _with_timm() -> Iterator[None]:
    found = importlib.util.find_spec("timm") is not None
    standing: dict[str, Any] = {} if found else _timm()
    with mock.patch.dict(sys.modules, standing):
        yield


def _timm() -> dict[str, Any]:
    names = ("timm", "timm.data", "timm.models", "timm.models.vision_transformer")
    modules: dict[str, Any] = {name: ModuleType(name) for name in names}
    modules["timm.data"].IMAGENET_DEFAULT_MEAN = (0.485, 0.456, 0.406)
    modules["timm.data"].IMAGENET_DEFAULT_STD = (0.229, 0.224, 0.225)
    modules["timm.models.vision_transformer"].PatchEmbed = _PatchEmbed
    modules["timm.models.vision_transformer"].Mlp = None  # they import it and do without
    return modules


class _PatchEmbed(nn.Module):
    """timm's: a convolution whose stride is its kernel."""

    def __init__(self, side: int, patch: int, channels: int, width: int, bias: bool = True) -> None:
        super().__init__()
        self.patch_size, self.num_patches = (patch, patch), (side // patch) ** 2
        self.proj = nn.Conv2d(channels, width, patch, patch, bias=bias)

    def forward(self, images: Tensor) -> Tensor:
        tokens: Tensor = self.proj(images).flatten(2).transpose(1, 2)
        return tokens


def their_networks(made: Any, config: GATConfig, spec: ImageSpec) -> Pair:
    """Theirs, initialised. Without alignment, theirs has no head for it."""
    shared = {
        "input_size": spec.height,
        "patch_size": config.patch,
        "in_channels": spec.channels,
        "num_classes": spec.classes,
        "hidden_size": config.width,
        "depth": config.depth,
        "num_heads": config.heads,
        "z_dims": [config.alignment_features if config.alignment_weight else 0],
        "projector_dim": config.label_dim,
        "qk_norm": True,
        "fused_attn": True,
    }
    return made.GAT(latent_size=config.z_dim, **shared), made.GATD(cmap_dim=config.label_dim, **shared)


def their_loss(made: Any, config: GATConfig, teacher: nn.Module | None = None) -> Any:
    """Their object of both losses, with penalties at every step. teacher: what is aligned with."""
    settings = {
        "r1_gamma": config.r1_gamma,
        "r2_gamma": config.r2_gamma,
        "r1_every": 1,
        "r2_every": 1,
        "approximate": True,
        "accelerator": SimpleNamespace(autocast=nullcontext),
    }
    if teacher is None:
        return made.losses.RpGANLoss(**settings)
    network = teacher

    def forward_features(images: Tensor) -> dict[str, Tensor]:
        tokens: Tensor = network(images, dtype=images.dtype)
        return {"x_norm_clstoken": tokens[:, 0], "x_norm_patchtokens": tokens[:, 1:]}

    return made.losses.RpGANPTLoss(
        encoders=[SimpleNamespace(forward_features=forward_features)],
        encoder_types=["dinov2"],
        architectures=["vit"],
        proj_coeff=config.alignment_weight,
        **settings,
    )


def played(
    loss: Any,
    theirs: Pair,
    net: Net,
    reals: Batch,
    draws: Sequence[Draw],
    spec: ImageSpec,
    z: Tensor | None = None,
) -> Tensor:
    """Their loss of a turn of `net`, [N], with what our turn drew. z: instead of that turn's own."""
    supply = Supply()
    numbers = Numbers(draws, spec)
    own = numbers.take("normal")
    feed(supply, numbers, net)
    step = loss.step_gen if net == "generator" else loss.step_disc
    latents = (own if z is None else z).to(reals.images)
    asked = {"y": reals.labels, "z": latents, "x": torch.zeros_like(reals.images)}
    generator = theirs[0]
    with supply.feeding():
        value: Tensor = step(generator, theirs[1], None, reals.images, (reals.images + 1) * 127.5, 0, asked)[
            0
        ]
    supply.finish()
    return value


class Numbers:
    """The draws of one turn, taken in order. spec: of the images."""

    def __init__(self, draws: Sequence[Draw], spec: ImageSpec) -> None:
        self._draws, self.spec = iter(draws), spec

    def take(self, kind: str) -> Tensor:
        """The next numbers. Errors: RuntimeError if they are of another kind, or there are none."""
        draw = next(self._draws, Draw("no", torch.zeros(0)))
        if draw.kind != kind:
            raise RuntimeError(f"our turn drew {draw.kind} numbers where {kind} ones were expected")
        return draw.values


LEVELS = 4


def feed(supply: Supply, numbers: Numbers, net: Net) -> None:
    """Puts what a turn drew after z in the order in which theirs asks for it: both augmentations, both chains
    of noises, each finest first, and in the discriminator's turn the moves of a real and of a fake's
    levels."""
    shape = (numbers.spec.channels, numbers.spec.height, numbers.spec.width)
    noises = []
    for _ in range(2):  # fakes, then reals
        feed_augmentation(supply, numbers.take("uniform"), numbers.spec)
        noises.append(numbers.take("normal").reshape(-1, LEVELS, *shape).flip(1))
    for noise in noises:
        for level in noise.unbind(1):
            supply.put("normal", level)
    if net == "discriminator":
        moves = [numbers.take("normal") for _ in range(LEVELS + 1)]
        for move in (moves[-1], *moves[:-1]):
            supply.put("normal", move)


def feed_augmentation(supply: Supply, uniforms: Tensor, spec: ImageSpec) -> None:
    """Puts the numbers of one augmentation. Theirs moves an image, cuts a hole and then mirrors it; ours
    mirrors it first, so that what follows is reflected where it was."""
    fires, brightness, saturation, contrast, flips, right, down, x, y = uniforms.unbind(1)
    for values in (brightness, saturation, contrast):
        supply.put("uniform", values)
    supply.put("uniform", fires)
    flipped = flips < _FLIP
    shift = [_whole(u, 2 * (s // 8) + 1) - s // 8 for u, s in ((right, spec.width), (down, spec.height))]
    hole = [_whole(u, s + 1) for u, s in ((x, spec.width), (y, spec.height))]
    supply.put("integers", -shift[1])
    supply.put("integers", torch.where(flipped, shift[0], -shift[0]))
    supply.put("integers", hole[1])
    supply.put("integers", torch.where(flipped, spec.width - hole[0], hole[0]))
    supply.put("uniform", flips)


_FLIP = 0.4


def _whole(uniform: Tensor, high: int) -> Tensor:
    return (uniform.double() * high).long()
