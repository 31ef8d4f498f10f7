"""Renames the weights of the public BigGAN-PyTorch code (github.com/ajbrock/BigGAN-PyTorch).

Its blocks are nested lists: `blocks.2.0.conv1` is a convolution of the third block, `blocks.2.1.theta` is
part of the self-attention after it. In BigGAN-deep's discriminator, an inner list holds the blocks of one
resolution.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from pipeline.config.families import BigGANConfig
from pipeline.contracts import ImageSpec
from pipeline.errors import UserError
from pipeline.models.biggan.shape import GENERATOR, LOWEST, Shape

_SMALLEST = 32  # the lowest resolution of the public code, in pixels
_NESTED = re.compile(r"blocks\.(\d+)\.(\d+)\.(.+)")
_ATTENTION = re.compile(r"(theta|phi|g|o|gamma)(\.|$)")
# Singular values that are kept for logging, and a counter of standing statistics.
_DROPPED = re.compile(r"(^|\.)(sv\d+|accumulation_counter|num_batches_tracked)$")
_RENAMED = (
    (re.compile(r"(^|\.)bn(\d)\."), r"\1norm\2."),
    (re.compile(r"^output_layer\.0\."), "norm."),
    (re.compile(r"^output_layer\.2\."), "conv."),
    (re.compile(r"^input_conv\."), "stem."),
    (re.compile(r"(^|\.)conv_sc\."), r"\1skip."),
    (
        re.compile(r"\.bn\.(?=(stored|running)_)"),
        ".",
    ),  # nested in its own and in its synchronised normalisation
    (re.compile(r"\.stored_(mean|var)$"), r".running_\1"),
    (re.compile(r"(norm\d)\.running_"), r"\1.norm.running_"),
    (re.compile(r"\.u0$"), ".u"),
)


def from_ajbrock(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Converts the public code's state dict of a generator or a discriminator into ours.

    Raises UserError for networks that our BigGAN does not support: without spectral normalisation, with more
    than one singular value, or without a shared class embedding.
    """
    _check(state)
    weights: dict[str, Tensor] = {}
    for name, tensor in state.items():
        name = name.removeprefix("module.")
        if _DROPPED.search(name):
            continue
        ours = _our_name(name, _side_by_side(state))
        weights[ours] = tensor.reshape(-1) if ours.endswith(".u") else tensor
    return weights


def infer(state: Mapping[str, Tensor]) -> tuple[dict[str, Any], ImageSpec]:
    """Returns the fields of a BigGANConfig and the image specification of the public code's generator.

    The discriminator is assumed to have as many channels as the generator. Raises UserError if no arrangement
    of blocks that we support fits.
    """
    ours = from_ajbrock(state)
    if "shared.weight" not in ours or "conv.weight" not in ours:
        raise UserError("these are not the weights of a generator of BigGAN-PyTorch")
    classes, shared = ours["shared.weight"].shape
    channels, _, _, _ = ours["conv.weight"].shape
    deep = "blocks.0.conv4.weight" in ours
    count = 1 + max(int(name.split(".")[1]) for name in ours if name.startswith("blocks."))
    chunk = ours["blocks.0.norm1.gain.weight"].shape[1] - shared
    first = ours["linear.weight"].shape[1]
    attended = sorted({int(n.split(".")[1]) for n in ours if n.startswith("attention.")})
    fields: dict[str, Any] = {
        "name": "biggan",
        "variant": "deep" if deep else "biggan",
        "shared_dim": shared,
        "hierarchical": chunk > 0,
        "z_dim": (chunk if deep else chunk * (count + 1)) or first,
    }
    for resolution, multiples in GENERATOR.items():
        stages = len(multiples) - 1
        if resolution < _SMALLEST or count % stages or (not deep and count != stages):
            continue
        ch = ours["linear.weight"].shape[0] // (LOWEST * LOWEST * multiples[0])
        depth = count // stages
        fields |= {"generator_channels": ch, "discriminator_channels": ch}
        fields |= {"depth": depth} if deep else {}
        # Each stage doubles the resolution, from 4px on; attention follows the last block of a stage.
        fields["generator_attention"] = tuple(LOWEST << (i // depth + 1) for i in attended)
        spec = ImageSpec(resolution, resolution, channels, classes)
        if _fits(BigGANConfig(**fields), spec, ours):
            return fields, spec
    raise UserError(f"a generator of {count} blocks of these widths is none that biggan can make")


def _fits(config: BigGANConfig, spec: ImageSpec, ours: Mapping[str, Tensor]) -> bool:
    shape = Shape(config, spec.height, spec.channels, spec.classes)
    last = "conv4" if shape.deep else "conv2"
    return len(shape.generator) == sum(name.endswith(f"{last}.weight") for name in ours) and all(
        ours[f"blocks.{i}.conv1.weight"].shape[1] == block.inputs
        and ours[f"blocks.{i}.{last}.weight"].shape[0] == block.outputs
        for i, block in enumerate(shape.generator)
    )


def _check(state: Mapping[str, Tensor]) -> None:
    if not any(name.endswith(".u0") for name in state):
        raise UserError("these weights have no spectral normalisation (u0); biggan has no such network")
    if any(name.endswith(".u1") for name in state):
        raise UserError("these weights have several singular values (num_svs); allowed: 1")
    if any(name.endswith("bn1.gain.weight") for name in state) and "shared.weight" not in {
        name.removeprefix("module.") for name in state
    }:
        raise UserError("this generator has no shared class embedding (G_shared); biggan has no such network")


def _side_by_side(state: Mapping[str, Tensor]) -> int:
    """Returns the number of blocks in an inner list, which is above 1 only in BigGAN-deep's discriminator."""
    numbers = [
        int(match[2])
        for name in state
        if (match := _NESTED.search(name)) is not None and not _ATTENTION.match(match[3])
    ]
    return 1 + max(numbers, default=0)


def _our_name(name: str, depth: int) -> str:
    if match := _NESTED.fullmatch(name):
        outer, inner, rest = int(match[1]), int(match[2]), match[3]
        if _ATTENTION.match(rest):
            name = f"attention.{outer * depth + depth - 1}.{rest}"
        else:
            name = f"blocks.{outer * depth + inner}.{rest}"
    for pattern, ours in _RENAMED:
        name = pattern.sub(ours, name)
    return name
