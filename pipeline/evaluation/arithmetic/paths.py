"""Perceptual path length: how much images change over short steps in latent space (Karras et al. 2019,
section 4.1; Karras et al. 2020, section 3).

Steps of epsilon = 1e-4 are taken on the path between two latents, which is spherical in z and straight in w:
with `full` anywhere on the path, with `end` at its beginning. Images are not quantised; those above 256
pixels are reduced to 256 by averaging, and grey is repeated. The noise is the stored noise on both sides of a
step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from pipeline.evaluation.features.lpips import Perceptual, as_perceived
from pipeline.latents import LatentSpace, lerp, slerp
from pipeline.randomness import SampleRandomness, derive_seed

EPSILON = 1e-4
_PERCENTILES = (1, 99)

Space = Literal["z", "w"]
Sampling = Literal["end", "full"]
"""Where on a path steps are taken: at its beginning (`end`) or anywhere (`full`)."""


@dataclass(frozen=True)
class Steps:
    """Short steps in the space `which` of a generator. `perceptual` is the distance between images; `crop`
    keeps only the part of the image where FFHQ has the face."""

    space: LatentSpace
    which: Space
    sampling: Sampling
    crop: bool
    perceptual: Perceptual

    @torch.inference_mode()
    def lengths(self, seeds: range, classes: list[int] | None) -> Tensor:
        """The squared length of one step for each seed, divided by epsilon^2: [n] float64. `classes` has the
        class of each seed; both ends of a path have the same one."""
        space = self.space
        ends = [[derive_seed("path", seed, end) for seed in seeds] for end in range(2)]
        first = space.latents(ends[0], classes=classes)
        second = space.latents(ends[1], classes=None if first.labels is None else first.labels.tolist())
        start = torch.zeros(len(seeds), device=first.z.device)
        if self.sampling == "full":
            start = SampleRandomness(
                [derive_seed("path", seed, 2) for seed in seeds], start.device, "cpu"
            ).uniform()
        images = []
        for step in (0.0, EPSILON):
            # float64, because a step of 1e-4 is close to the resolution of float32.
            at = start.double() + step
            if self.which == "z":
                codes = space.map(slerp(first.z, second.z, at), first.labels)
            else:
                codes = lerp(space.map(first.z, first.labels), space.map(second.z, first.labels), at)
            images.append(self._seen(space.synthesise(codes)))
        distances: Tensor = self.perceptual(*images)
        return distances.double().cpu() / EPSILON**2

    def _seen(self, images: Tensor) -> Tensor:
        """What the distance sees of images [N, C, H, W] in [-1, 1]; with `crop`, only the face of FFHQ's
        images."""
        if self.crop:
            eighth = images.shape[2] // 8
            images = images[:, :, 3 * eighth : 7 * eighth, 2 * eighth : 6 * eighth]
        return as_perceived(images)


def path_length(lengths: Tensor) -> dict[str, Any]:
    """The figure from the lengths [n] of all steps: their mean without the lowest and highest percent, as in
    the authors' code."""
    values = lengths.numpy()
    low = np.percentile(values, _PERCENTILES[0], method="lower")
    high = np.percentile(values, _PERCENTILES[1], method="higher")
    kept = values[(values >= low) & (values <= high)]
    return {"value": float(kept.mean()), "std": float(kept.std()), "kept": len(kept), "epsilon": EPSILON}
