"""Perceptual path length: how much images change along short steps in latent space (Karras et al. 2019,
section 4.1; Karras et al. 2020, section 3).

Steps of epsilon = 1e-4 on the path between two latents: spherical in z, straight in w. `full` takes them
anywhere on the path, `end` at its beginning. Images are not quantised; those above 256 pixels are reduced to
256 by averaging; grey is repeated. Noise is the stored one on both sides of a step.
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
"""Where on a path steps are taken: at its beginning, or anywhere."""


@dataclass(frozen=True)
class Steps:
    """Short steps in the `which` space of a generator. perceptual: the distance between images."""

    space: LatentSpace
    which: Space
    sampling: Sampling
    crop: bool
    perceptual: Perceptual

    @torch.inference_mode()
    def lengths(self, seeds: range, classes: list[int] | None) -> Tensor:
        """[n] float64: squared lengths of a step for each seed, over epsilon^2. classes: of each seed; both
        ends of a path have the same."""
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
            # float64: a step of 1e-4 is not much beyond what float32 rounds away.
            at = start.double() + step
            if self.which == "z":
                codes = space.map(slerp(first.z, second.z, at), first.labels)
            else:
                codes = lerp(space.map(first.z, first.labels), space.map(second.z, first.labels), at)
            images.append(self._seen(space.synthesise(codes)))
        distances: Tensor = self.perceptual(*images)
        return distances.double().cpu() / EPSILON**2

    def _seen(self, images: Tensor) -> Tensor:
        """[N, C, H, W] in [-1, 1] -> what the distance takes; with `crop`, of FFHQ's faces alone."""
        if self.crop:
            eighth = images.shape[2] // 8
            images = images[:, :, 3 * eighth : 7 * eighth, 2 * eighth : 6 * eighth]
        return as_perceived(images)


def path_length(lengths: Tensor) -> dict[str, Any]:
    """The figure from all steps' lengths [n]: their mean without the lowest and highest percent, as the
    authors' code has it."""
    values = lengths.numpy()
    low = np.percentile(values, _PERCENTILES[0], method="lower")
    high = np.percentile(values, _PERCENTILES[1], method="higher")
    kept = values[(values >= low) & (values <= high)]
    return {"value": float(kept.mean()), "std": float(kept.std()), "kept": len(kept), "epsilon": EPSILON}
