"""Generated images compared with the training images: how realistic they are, and which training images are
nearest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.data.shards.index import ShardIndex
from pipeline.data.streaming.numbered import read_uint8
from pipeline.errors import UserError
from pipeline.evaluation.cache import StatisticsCache
from pipeline.evaluation.features.extractor import Extractor, as_rgb

NEIGHBOURS = 3
"""k for the balls around training images (Kynkaanniemi et al. 2019, section 3.1), and how many neighbours are
listed."""

_ROWS = 4096  # training images at once, in float64
_CELLS = 16


class Features(Protocol):
    """What images are compared by. `digest` and `resize` identify it in caches."""

    digest: str
    resize: str

    def __call__(self, pixels: Tensor) -> Tensor:
        """uint8 [N, C, H, W] -> [N, D] float32, on the CPU."""
        ...


class PixelFeatures:
    """The mean colours of 16 x 16 cells, in [0, 1]. They need no weights, and reveal copies but not
    realism."""

    digest, resize = "pixels", f"means of {_CELLS}x{_CELLS} cells"

    def __call__(self, pixels: Tensor) -> Tensor:
        cells = F.adaptive_avg_pool2d(pixels.double() / 255, (_CELLS, _CELLS))
        return cells.flatten(1).float().cpu()


class ExtractedFeatures:
    """The features of one of the extractors of `evaluation`."""

    def __init__(self, extractor: Extractor) -> None:
        self._extractor = extractor
        self.digest, self.resize = extractor.digest, extractor.resize

    def __call__(self, pixels: Tensor) -> Tensor:
        return self._extractor(as_rgb(pixels))[0].cpu()


@dataclass(frozen=True)
class Balls:
    """The training images in feature space. features: [M, D], on the device. nearest, radius: [M] float64 on
    the CPU, the distances of each image to its nearest and to its third nearest neighbour."""

    features: Tensor
    nearest: Tensor
    radius: Tensor


class TrainingImages:
    """The images of `index` as features. One job computes them, and `cache` keeps them on disk for all."""

    def __init__(
        self, index: ShardIndex, features: Features, cache: StatisticsCache, device: torch.device
    ) -> None:
        if index.count <= NEIGHBOURS:
            raise UserError(f"--reference {index.root}: needs more than {NEIGHBOURS} images")
        self.index, self.features, self._device = index, features, device
        self.balls = _balls(index, features, cache, device)
        # Balls in sparse regions say little; the paper leaves out those above the median radius.
        self._small = self.balls.radius <= self.balls.radius.median()

    def look(self, pixels: Tensor) -> tuple[list[float], list[list[tuple[int, float]]]]:
        """The realism of uint8 images [N, C, H, W], and for each its nearest training images as (number,
        distance).

        Realism is the largest ratio of a training image's radius to its distance, over the balls up to the
        median radius (Kynkaanniemi et al. 2019, eq. 3). Above 1, the image lies inside a ball.
        """
        apart = distances(self.features(pixels), self.balls.features, self._device)
        ratio = self.balls.radius / apart.clamp(min=1e-12)
        realism = ratio.masked_fill(~self._small, 0).amax(dim=1)
        values, places = apart.topk(NEIGHBOURS, largest=False)
        nearest = [
            [(int(p), round(float(v), 6)) for p, v in zip(*row, strict=True)]
            for row in zip(places.tolist(), values.tolist(), strict=True)
        ]
        return [min(one, 1e6) for one in realism.tolist()], nearest


def distances(some: Tensor, all_: Tensor, device: torch.device) -> Tensor:
    """Euclidean distances [N, M] between rows [N, D] and [M, D], float64 on the CPU.

    Computed from products in float64; two equal rows come out at most 1e-7 of their length apart.
    """
    left = some.to(device, torch.float64)
    parts = []
    for start in range(0, len(all_), _ROWS):
        right = all_[start : start + _ROWS].to(device, torch.float64)
        square = left.square().sum(1)[:, None] + right.square().sum(1) - 2 * left @ right.T
        parts.append(square.clamp(min=0).sqrt().cpu())
    return torch.cat(parts, dim=1)


def _balls(index: ShardIndex, features: Features, cache: StatisticsCache, device: torch.device) -> Balls:
    key = {"data": index.digest, "extractor": features.digest, "resize": features.resize}
    gathered = cache.made("features", key, lambda: {"features": _gather(index, features)})
    rows = gathered["features"].to(device)  # moved once, because they are compared with every image

    def measure() -> dict[str, Tensor]:
        nearest = []
        for start in range(0, len(rows), 512):
            apart = distances(rows[start : start + 512], rows, device)
            own = torch.arange(len(apart))
            apart[own, own + start] = torch.inf
            nearest.append(apart.topk(NEIGHBOURS, largest=False).values)
        near = torch.cat(nearest)
        return {"nearest": near[:, 0].contiguous(), "radius": near[:, -1].contiguous()}

    radii = cache.made("radii", {**key, "neighbours": NEIGHBOURS}, measure)
    return Balls(rows, radii["nearest"], radii["radius"])


def _gather(index: ShardIndex, features: Features) -> Tensor:
    return torch.cat([features(pixels) for pixels, _, _ in read_uint8(index, batch_size=32)])
