"""The settings of an evaluation, and what a metric is asked for with them."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from pipeline.evaluation.arithmetic.paths import Sampling
from pipeline.evaluation.features.weights import ExtractorChoice, InceptionWeights, PerceptualWeights


@dataclass(frozen=True)
class PathSettings:
    """How path lengths are measured, see `arithmetic.paths`.

    sampling: `end` takes steps at t = 0, `full` at t drawn uniformly from [0, 1]. crop: whether to keep only
    the part of the image where FFHQ has the face. weights: the weights of VGG16 and LPIPS.
    """

    sampling: Sampling = "end"
    crop: bool = False
    weights: PerceptualWeights = field(default_factory=PerceptualWeights)


@dataclass(frozen=True)
class Settings:
    """What to measure, and with what.

    metrics: names in the registry. count: the number of fakes; None lets each metric take its own, see
    `Metric.count`. seed: determines where SWD cuts its patches and which directions it projects on; fakes
    have the seeds 0 .. count - 1 in any case. seeds: how many sets of fakes are measured, each with seeds of
    its own; figures are then means over the sets, with their spread. batch_size: how many images are
    processed at once. extractor: the one that all metrics of features use; by default each uses its own.
    per_class: whether metrics that can are also computed within each class. inputs: the digest of the data
    set that a model makes its images of; None: of the reals', or of none.
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
    inputs: str | None = None

    @property
    def block(self) -> int:
        """The number of images in a block of work: even, so that no pair of MS-SSIM's is split."""
        return self.batch_size + self.batch_size % 2


@dataclass(frozen=True)
class Asked:
    """What a metric is asked for: its figure under `settings`, against `reals` real images. `stored` is the
    number of images in the data set being measured; None for a generator, which has no limit."""

    settings: Settings
    reals: int
    stored: int | None = None
