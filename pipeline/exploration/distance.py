"""The distance between generated images and a photograph, for projection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.contracts import ImageSpec
from pipeline.errors import UserError
from pipeline.evaluation.features.lpips import Perceptual, as_perceived
from pipeline.evaluation.features.weights import (
    LPIPS,
    VGG16,
    PerceptualWeights,
    file_in_hub,
    hub_folder,
    read_checked,
)

Measure = Callable[[Tensor], Tensor]
"""Images [N, C, H, W] in [-1, 1] -> the distance of each to the photograph, [N]."""

Choice = Literal["auto", "lpips", "pixels"]
_LOWEST = 4
_LPIPS_LEAST = 16  # the smallest side, in pixels


@dataclass(frozen=True)
class Distance:
    """A distance to a photograph. `name` is for people; `to` makes the measure for a photograph [1, C, H, W]
    in [-1, 1]."""

    name: str
    to: Callable[[Tensor], Measure]


def pixel_and_pyramid(photo: Tensor) -> Measure:
    """The mean squared difference of the pixels, plus the mean absolute difference at pyramid levels averaged
    over 1, 2, 4, ... pixels a side, averaged over levels: coarse levels guide the search while fine ones do
    not match yet."""
    levels = _pyramid(photo)

    def measure(images: Tensor) -> Tensor:
        pairs = zip(_pyramid(images), levels, strict=True)
        apart = torch.stack([(near - wanted).abs().flatten(1).mean(1) for near, wanted in pairs])
        return (images - photo).square().flatten(1).mean(1) + apart.mean(0)

    return measure


PIXELS = Distance("pixels and pyramid", pixel_and_pyramid)


def perceptual(weights: PerceptualWeights, device: torch.device) -> Distance:
    """LPIPS between images as `as_perceived` prepares them. UserError if its weights are missing or not the
    right ones."""
    files = ((VGG16, weights.vgg, weights.vgg_sha256), (LPIPS, weights.lpips, weights.lpips_sha256))
    for published, path, sha256 in files:
        read_checked(replace(published, without="--distance pixels needs no weights"), path, sha256)
    distance = Perceptual(weights, device)

    def to(photo: Tensor) -> Measure:
        wanted = as_perceived(photo)
        return lambda images: distance(as_perceived(images), wanted.expand(len(images), -1, -1, -1))

    return Distance("LPIPS", to)


def chosen_distance(
    choice: Choice, weights: PerceptualWeights, spec: ImageSpec, device: torch.device
) -> tuple[Distance, str | None]:
    """LPIPS if it is requested or its weights are present; otherwise the pixel distance, with a line that
    says so and how to get LPIPS. Nothing is downloaded unless LPIPS is requested."""
    if choice == "pixels":
        return PIXELS, None
    small = min(spec.height, spec.width) < _LPIPS_LEAST
    if choice == "lpips" and small:
        raise UserError(
            f"--distance lpips: needs images of {_LPIPS_LEAST} pixels a side or more; allowed: pixels"
        )
    if choice == "lpips":
        return perceptual(weights, device), None
    files = ((VGG16, weights.vgg), (LPIPS, weights.lpips))
    missing = [published for published, path in files if path is None and file_in_hub(published) is None]
    if not missing and not small:
        return perceptual(weights, device), None
    if small:
        return (
            PIXELS,
            f"images below {_LPIPS_LEAST} pixels a side: measured by pixels and pyramid, not by LPIPS",
        )
    mend = " and ".join(f"curl -Lo {hub_folder() / one.names[0]} {one.url}" for one in missing)
    return PIXELS, f"LPIPS weights are not there: measured by pixels and pyramid; to mend it: {mend}"


def _pyramid(images: Tensor) -> list[Tensor]:
    levels = [images]
    while min(levels[-1].shape[2:]) >= 2 * _LOWEST:
        levels.append(F.avg_pool2d(levels[-1], 2))
    return levels
