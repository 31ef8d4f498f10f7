"""The settings of an evaluation, and what a metric is asked for with them."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from pipeline.evaluation.arithmetic.paths import Sampling
from pipeline.evaluation.features.weights import ExtractorChoice, InceptionWeights, PerceptualWeights


@dataclass(frozen=True)
class PathSettings:
    """How path lengths are measured, see `paths`.

    sampling: `end` takes t = 0, `full` t from all of the path. crop: only the middle, where FFHQ has the
    face. weights: of VGG16 and LPIPS.
    """

    sampling: Sampling = "end"
    crop: bool = False
    weights: PerceptualWeights = field(default_factory=PerceptualWeights)


@dataclass(frozen=True)
class Settings:
    """What to measure and with what.

    metrics: of the registry. count: fakes; None: each metric's own number, see `Metric.count`.
    seed: of swd's patches and directions (fakes have seeds 0..count-1 always). seeds: sets of fakes that are
    measured, each with seeds of its own; figures are then their mean, with their spread.
    batch_size: images at once. extractor: of all feature metrics, or of each its standard. per_class: figures
    within each class too, of metrics that have them.
    """

    metrics: tuple[str, ...]
    count: int | None = None
    seed: int = 0
    seeds: int = 1
    batch_size: int = 32
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    inception: InceptionWeights = field(default_factory=InceptionWeights)
    extractor: ExtractorChoice = field(default_factory=ExtractorChoice)
    paths: PathSettings = field(default_factory=PathSettings)
    per_class: bool = False

    @property
    def block(self) -> int:
        """Images of one block of work: even, so that msssim's pairs lie within."""
        return self.batch_size + self.batch_size % 2


@dataclass(frozen=True)
class Asked:
    """What a metric is asked for: by `settings`, against `reals` real images. stored: images of the data set
    that is measured; None of a generator, which makes as many as one likes."""

    settings: Settings
    reals: int
    stored: int | None = None
