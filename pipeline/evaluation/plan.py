"""What the metrics need of both sets, and checks for what a user may get wrong in the settings."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.contracts import ImageSpec
from pipeline.errors import UserError
from pipeline.evaluation.metrics.needs import Needs
from pipeline.evaluation.metrics.registry import METRICS
from pipeline.evaluation.settings import Asked, Settings

LEAST_COUNT = 10
"""The smallest number of images: the Inception score has ten splits, precision and recall need neighbours,
and half a set must still hold images."""

SEED_STRIDE = 2**32
"""The distance between the first seeds of successive sets of fakes."""


def needs_of(metrics: Iterable[str], asked: Asked) -> Needs:
    """What `metrics` need of both sets."""
    needs = Needs()
    for name in metrics:
        needs += METRICS[name].needs(asked)
    return needs


def check_count(count: int | None, reals: int, where: str) -> None:
    """Raises UserError if there are too few fakes or reals to measure anything."""
    if count is not None and count < LEAST_COUNT:
        raise UserError(f"--count {count}: must be at least {LEAST_COUNT}")
    if reals < LEAST_COUNT:
        raise UserError(f"{where}: holds {reals} images; evaluation needs at least {LEAST_COUNT}")


def check_size(settings: Settings, spec: ImageSpec, where: str) -> None:
    """Raises UserError if the images at `where` are too small for a metric."""
    side = min(spec.height, spec.width)
    for name in settings.metrics:
        least = METRICS[name].least_side(settings)
        if side < least:
            raise UserError(f"{where}: images of {side} pixels; {name} needs at least {least}")


def check_labels(settings: Settings, classes: int, where: str) -> None:
    """Raises UserError if a metric needs labels and the reals at `where` have none. `classes` is their number
    of classes."""
    for name in settings.metrics:
        if METRICS[name].labels and not classes:
            raise UserError(f"{where}: has no labels; --metrics {name} needs them; allowed: labelled shards")


def check_settings(settings: Settings, conditional: bool, where: str) -> None:
    """Raises UserError for settings that do not go together. `conditional` says whether both the model and
    the reals at `where` have classes."""
    if settings.seeds < 1:
        raise UserError(f"--seeds {settings.seeds}: must be at least 1")
    lack = f"needs a conditional model and labelled data; {where} has no labels or the model no classes"
    if settings.per_class:
        able = " or ".join(name for name, metric in METRICS.items() if metric.by_class)
        if not any(METRICS[name].by_class for name in settings.metrics):
            raise UserError(f"--per-class: computes {able} within each class; add {able} to --metrics")
        if not conditional:
            raise UserError(f"--per-class: {lack}")
    for name in settings.metrics:
        if METRICS[name].labels and not conditional:
            raise UserError(f"--metrics {name}: {lack}")
