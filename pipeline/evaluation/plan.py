"""What is measured: the settings, what the metrics take of both sets, and what a person may get wrong."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import torch

from pipeline.contracts import ImageSpec
from pipeline.errors import UserError
from pipeline.evaluation.features.weights import ExtractorChoice, InceptionWeights, PerceptualWeights
from pipeline.evaluation.metrics.metric import Asked
from pipeline.evaluation.metrics.needs import Needs
from pipeline.evaluation.metrics.registry import METRICS, PLAIN

LEAST_COUNT = 10
"""Inception score has ten splits; precision and recall want neighbours; halves want images."""

SEED_STRIDE = 2**32
"""Between the seeds of one set of fakes and the next."""


@dataclass(frozen=True)
class PathSettings:
    """How path lengths are measured, see `paths`.

    sampling: `end` takes t = 0, `full` t from all of the path. crop: only the middle, where FFHQ has the
    face. weights: of VGG16 and LPIPS.
    """

    sampling: Literal["end", "full"] = "end"
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

    metrics: tuple[str, ...] = PLAIN
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


def needs_of(metrics: Iterable[str], asked: Asked) -> Needs:
    """What these metrics take of both sets."""
    found = Needs()
    for name in metrics:
        found += METRICS[name].needs(asked)
    return found


def check_count(count: int | None, reals: int, where: str) -> None:
    """UserError if there are too few fakes or reals to measure anything."""
    if count is not None and count < LEAST_COUNT:
        raise UserError(f"--count {count}: must be at least {LEAST_COUNT}")
    if reals < LEAST_COUNT:
        raise UserError(f"{where}: holds {reals} images; evaluation needs at least {LEAST_COUNT}")


def check_size(settings: Settings, spec: ImageSpec, where: str) -> None:
    """UserError if the images at `where` are too small for a metric."""
    side = min(spec.height, spec.width)
    for name in settings.metrics:
        least = METRICS[name].least_side(settings)
        if side < least:
            raise UserError(f"{where}: images of {side} pixels; {name} needs at least {least}")


def check_labels(settings: Settings, classes: int, where: str) -> None:
    """UserError if a metric needs labels that the `classes` of the reals at `where` do not give."""
    for name in settings.metrics:
        if METRICS[name].labels and not classes:
            raise UserError(f"{where}: has no labels; --metrics {name} needs them; allowed: labelled shards")


def check_settings(settings: Settings, conditional: bool, where: str) -> None:
    """UserError for settings that do not go together. conditional: both the model and the reals at `where`
    have classes."""
    if settings.seeds < 1:
        raise UserError(f"--seeds {settings.seeds}: must be at least 1")
    lack = f"needs a conditional model and labelled data; {where} or the model is not"
    if settings.per_class:
        able = " or ".join(name for name, metric in METRICS.items() if metric.by_class)
        if not any(METRICS[name].by_class for name in settings.metrics):
            raise UserError(f"--per-class: is {able} within each class; add {able} to --metrics")
        if not conditional:
            raise UserError(f"--per-class: {lack}")
    for name in settings.metrics:
        if METRICS[name].labels and not conditional:
            raise UserError(f"--metrics {name}: {lack}")
