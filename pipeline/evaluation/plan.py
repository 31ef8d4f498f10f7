"""What is measured: names of metrics, how many images each takes, and what must be gathered for it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch

from pipeline.errors import UserError
from pipeline.evaluation.names import (
    FEATURE_METRICS,
    METRICS,
    NEIGHBOUR_METRICS,
    PATH_METRICS,
    STANDARD_EXTRACTORS,
    WITHOUT_WEIGHTS,
)
from pipeline.evaluation.weights import ExtractorChoice, InceptionWeights, PerceptualWeights

STANDARD_COUNT = 50_000
"""Fakes for the feature metrics, and pairs for path lengths, as published figures have it."""

SWD_COUNT = 8192
"""Images for swd unless a count is given (Karras et al. 2018 took 16,384)."""

SIMILARITY_COUNT = 2000
"""Images for msssim unless a count is given: 1,000 pairs put its standard error near .005."""

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

    metrics: of METRICS. count: fakes; None: 50,000 for the feature metrics and path lengths, 8,192 for swd
    and 2,000 for msssim.
    seed: of swd's patches and directions (fakes have seeds 0..count-1 always). seeds: sets of fakes that are
    measured, each with seeds of its own; figures are then their mean, with their spread.
    batch_size: images at once. extractor: of all feature metrics, or of each its standard. per_class: fid
    within each class too.
    """

    metrics: tuple[str, ...] = WITHOUT_WEIGHTS
    count: int | None = None
    seed: int = 0
    seeds: int = 1
    batch_size: int = 32
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    inception: InceptionWeights = field(default_factory=InceptionWeights)
    extractor: ExtractorChoice = field(default_factory=ExtractorChoice)
    paths: PathSettings = field(default_factory=PathSettings)
    per_class: bool = False

    def extractor_of(self, metric: str) -> str:
        """Whose features a feature metric looks at."""
        return self.extractor.name or STANDARD_EXTRACTORS[metric]

    def by_extractor(self) -> dict[str, tuple[str, ...]]:
        """The feature metrics that are asked for, by whose features they look at."""
        found: dict[str, tuple[str, ...]] = {}
        for metric in self.metrics:
            if metric in FEATURE_METRICS:
                name = self.extractor_of(metric)
                found[name] = (*found.get(name, ()), metric)
        return found

    @property
    def block(self) -> int:
        """Images of one block of work: even, so that msssim's pairs lie within."""
        return self.batch_size + self.batch_size % 2


@dataclass(frozen=True)
class Extraction:
    """What to gather of one extractor: of how many images, and which of moments, features and logits."""

    images: int
    moments: bool = False
    features: bool = False
    logits: bool = False


@dataclass(frozen=True)
class Needs:
    """What to gather of one set of images: for each kind the number of images from the first on, 0: none.

    extracted: by extractor. paths: pairs of neighbours on paths.
    """

    extracted: Mapping[str, Extraction] = field(default_factory=dict)
    swd: int = 0
    similarity: int = 0
    paths: int = 0

    @property
    def images(self) -> int:
        """How many images must be looked at."""
        extracted = (extraction.images for extraction in self.extracted.values())
        return max(self.swd, self.similarity, *extracted, 0)


def parse_metrics(words: str | Iterable[str]) -> tuple[str, ...]:
    """`"fid,swd"` -> ("fid", "swd"), in the order of METRICS, each once. UserError names the nearest."""
    names = [word.strip().lower() for word in (words.split(",") if isinstance(words, str) else words)]
    for name in names:
        if name not in METRICS:
            near = difflib.get_close_matches(name, METRICS, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UserError(f"--metrics: unknown metric {name!r}; allowed: {', '.join(METRICS)}{hint}")
    return tuple(name for name in METRICS if name in names)


def check_count(count: int | None, reals: int, where: str) -> None:
    """UserError if there are too few fakes or reals to measure anything."""
    if count is not None and count < LEAST_COUNT:
        raise UserError(f"--count {count}: must be at least {LEAST_COUNT}")
    if reals < LEAST_COUNT:
        raise UserError(f"{where}: holds {reals} images; evaluation needs at least {LEAST_COUNT}")


def check_settings(settings: Settings, conditional: bool, where: str) -> None:
    """UserError for settings that do not go together. conditional: both the model and the reals at `where`
    have classes."""
    if settings.seeds < 1:
        raise UserError(f"--seeds {settings.seeds}: must be at least 1")
    if settings.per_class and "fid" not in settings.metrics:
        raise UserError("--per-class: is fid within each class; add fid to --metrics")
    if settings.per_class and not conditional:
        raise UserError(
            f"--per-class: needs a conditional model and labelled data; {where} or the model is not"
        )


def fake_needs(settings: Settings, reals: int, stored: int | None = None) -> Needs:
    """Of the fakes. stored: how many there are, if they are a data set: all of them, unless a count is given.
    swd compares sets of equal size: never more than there are reals."""
    metrics, count = settings.metrics, settings.count
    swd = count if count is not None else min(SWD_COUNT, stored or SWD_COUNT)
    similarity = count if count is not None else min(SIMILARITY_COUNT, stored or SIMILARITY_COUNT)
    standard = count or stored or STANDARD_COUNT
    return Needs(
        extracted={
            name: replace(_extraction(some, standard, settings), logits="is" in some)
            for name, some in settings.by_extractor().items()
        },
        swd=min(swd, reals) if "swd" in metrics else 0,
        similarity=similarity // 2 * 2 if "msssim" in metrics else 0,
        paths=standard if _any(metrics, *PATH_METRICS) else 0,
    )


def real_needs(settings: Settings, reals: int, stored: int | None = None) -> Needs:
    """Of the reals: all of them for the feature metrics. stored: see `fake_needs`."""
    fakes = fake_needs(settings, reals, stored)
    return Needs(
        extracted={
            name: _extraction(some, reals, settings)
            for name, some in settings.by_extractor().items()
            if some != ("is",)
        },
        swd=fakes.swd,
        similarity=min(fakes.similarity, reals) // 2 * 2,
    )


def _extraction(metrics: Sequence[str], images: int, settings: Settings) -> Extraction:
    """What these metrics of one extractor compare."""
    fid = "fid" in metrics
    features = _any(metrics, "kid", *NEIGHBOUR_METRICS) or (fid and settings.per_class)
    return Extraction(images, moments=fid, features=features)


def _any(metrics: Sequence[str], *names: str) -> bool:
    return any(name in metrics for name in names)
