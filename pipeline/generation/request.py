"""What to generate: everything that decides the images, checked before any work starts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from pipeline.contracts import Fakes, Sampler
from pipeline.errors import UserError
from pipeline.storage.pictures import FORMATS, PictureFormat
from pipeline.storage.snapshots import Snapshot

_SEEDS = 2**63


@dataclass(frozen=True)
class Request:
    """Which images of which snapshot.

    count: images, with seeds seed .. seed + count - 1. truncation: psi (Karras et al. 2019, appendix B):
    1 as trained, 0 the average image. classes: class numbers, image i has number i of them in turn; empty:
    a conditional generator draws the class from the seed. kind, quality: of the image files.
    batch_size: images at once. device: where the sampler computes. for_shards: False for one picture,
    whose format its file name says.
    """

    snapshot: Snapshot
    count: int
    seed: int = 0
    truncation: float = 1.0
    classes: tuple[int, ...] = ()
    kind: PictureFormat = "png"
    quality: int | None = None
    batch_size: int = 16
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    for_shards: bool = True

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UserError(f"--count {self.count}: must be at least 1")
        if self.seed < 0 or self.seed + self.count > _SEEDS:
            raise UserError(f"--seed {self.seed}: must be at least 0, and seed + count at most 2^63")
        if not math.isfinite(self.truncation):
            raise UserError(f"--truncation {self.truncation}: must be a number, usually 0 to 1")
        if self.batch_size < 1:
            raise UserError(f"--batch-size {self.batch_size}: must be at least 1")
        if self.for_shards:
            self._check_format()

    def _check_format(self) -> None:
        if self.kind not in FORMATS:
            raise UserError(f"--format {self.kind}: unknown; allowed: {', '.join(FORMATS)}")
        if self.quality is not None and (self.kind == "png" or not 1 <= self.quality <= 100):
            raise UserError(f"--quality {self.quality}: allowed: 1 to 100, of jpg and webp (png is lossless)")
        if self.kind == "webp" and self.snapshot.spec.channels == 1:
            raise UserError("--format webp: has no grey; allowed for grey images: png, jpg")

    @property
    def numbers(self) -> Sequence[range]:
        """The images by number, in batches. A restart takes the same batches, so that it computes the
        same even where a device rounds differently in batches of other sizes."""
        starts = range(0, self.count, self.batch_size)
        return [range(start, min(start + self.batch_size, self.count)) for start in starts]

    def draw(self, sampler: Sampler, numbers: range) -> Fakes:
        """Images `numbers` (0 is the first of this request)."""
        classes = [self.classes[i % len(self.classes)] for i in numbers] if self.classes else None
        seeds = [self.seed + i for i in numbers]
        return sampler.draw(seeds, classes=classes, truncation=self.truncation)

    def origin(self) -> dict[str, Any]:
        """How the images are made, for the index: an interrupted data set is continued if all is equal."""
        names = self.snapshot.classes
        return {
            "made_by": "generate",
            "snapshot": self.snapshot.digest,
            "snapshot_images_seen": self.snapshot.images_seen,
            "family": self.snapshot.family.name,
            "seed": self.seed,
            "count": self.count,
            "truncation": self.truncation,
            "classes": [names[i] if names else str(i) for i in self.classes] or "by seed",
            "format": self.kind,
            "quality": self.quality,
            "quantisation": "floor(clamp(x * 127.5 + 128, 0, 255))",
            "computed": self._computed(),
        }

    def _computed(self) -> str:
        # On a CPU samplers give the same bits in any batch; elsewhere the batch size may round.
        kind = self.device.type
        return kind if kind == "cpu" else f"{kind}, batches of {self.batch_size}"
