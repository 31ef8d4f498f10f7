"""The alignment of the discriminator's tokens with those of a frozen network, and the pull between levels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.contracts import Terms
from pipeline.dinov2 import GRID, SIDE
from pipeline.losses import Play
from pipeline.models.augment import Retouched
from pipeline.models.gat.noise import reduced
from pipeline.models.gat.shape import Shape
from pipeline.models.gat.teacher import as_imagenet

TEACHER = "teacher"
"""The name of the fixture."""
_CLASS, _TOKENS = "alignment/class", "alignment/tokens"


@dataclass(frozen=True)
class Alignment:
    """Compares the discriminator's tokens on reals with the teacher's on the same images, moved alike (Yu et
    al. 2025, "Representation alignment for generation", eq. 8, with the class token beside the others).

    pixels: the reals as images [N, C, H, W] in [-1, 1]. teacher: returns their tokens [N, 1 + 256, features].
    translation: see the config. shape: that of the discriminator.
    """

    pixels: Tensor
    teacher: nn.Module
    translation: Literal["shared", "published"]
    shape: Shape

    def distances(self, features: Tensor, augmentation: Retouched) -> dict[str, Tensor]:
        """Returns 1 - cos of the class tokens and the mean of it over the other tokens, [N] each.

        features: the discriminator's, [N, 1 + tokens, features]. augmentation: that of the images which the
        discriminator saw, whose geometric part the teacher's images go through.
        """
        with torch.no_grad():
            images = self._moved(as_imagenet(self.pixels[: len(features)]), augmentation)
            wanted = self.teacher(images, dtype=self.shape.low_precision or images.dtype)
            tokens = resized(wanted[:, 1:], self.shape.grid)
        apart = 1 - F.cosine_similarity(features, torch.cat([wanted[:, :1], tokens], dim=1), dim=2)
        return {_CLASS: apart[:, 0], _TOKENS: apart[:, 1:].mean(dim=1)}

    def _moved(self, images: Tensor, augmentation: Retouched) -> Tensor:
        if self.translation == "shared" or augmentation.shift is None:
            return augmentation.moved(images)
        # There the shift of out[x] = in[x + t] is multiplied by the latents' side, divided by the teacher's
        # and rounded down. Ours is -t and, across an image that is mirrored, which theirs is afterwards, t.
        sides = torch.tensor([self.shape.width, self.shape.height], device=images.device)
        signs = -torch.ones_like(augmentation.shift)
        if augmentation.flip is not None:
            signs[:, 0] = torch.where(augmentation.flip, 1, -1)
        shift = signs * torch.div(signs * augmentation.shift * sides, SIDE, rounding_mode="floor")
        return replace(augmentation, size=(SIDE, SIDE), shift=shift).moved(images)


def resized(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Returns the teacher's tokens [N, 256, features] at the places of another grid, (rows, columns)."""
    if grid == (GRID, GRID):
        return tokens
    maps = tokens.mT.reshape(len(tokens), -1, GRID, GRID)
    return F.interpolate(maps, size=grid, mode="bicubic", align_corners=False).flatten(2).mT


class AlignmentTerm:
    """weight * (1 - cos of the class tokens + mean of 1 - cos of the other tokens), [N], on reals."""

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def __call__(self, play: Play) -> Terms:
        assert play.real is not None
        apart = play.real.extra
        stats = {name: value.detach().mean() for name, value in apart.items()}
        return Terms(self.weight * (apart[_CLASS] + apart[_TOKENS]), stats)


class Consistency:
    """weight * the mean squared distance between each level of a fake and the last one, at the level's size,
    averaged over levels, [N].

    CAT's paper names such a term; its form is ours. The gradient moves both: as levels add up, their distance
    is what later heads add at this size, and a last level that were held would run away from its followers.
    """

    def __init__(self, weight: float, scales: tuple[int, ...]) -> None:
        self.weight, self.scales = weight, scales

    def __call__(self, play: Play) -> Terms:
        *coarse, last = play.fakes.seen
        apart = [
            reduced(last - level, scale).square().mean(dim=(1, 2, 3))
            for level, scale in zip(coarse, self.scales[:-1], strict=True)
        ]
        mean = torch.stack(apart).mean(dim=0)
        return Terms(self.weight * mean, {"loss/consistency": mean.detach().mean()})
