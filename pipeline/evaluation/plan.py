"""What is measured: names of metrics, how many images each takes, and what must be gathered for it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch

from pipeline.errors import UserError
from pipeline.evaluation.weights import InceptionWeights

METRICS = ("fid", "kid", "is", "pr", "swd", "msssim")
INCEPTION_METRICS = frozenset(("fid", "kid", "is", "pr"))
WITHOUT_WEIGHTS = ("swd", "msssim")

STANDARD_COUNT = 50_000
"""Fakes for the Inception metrics, as published figures have it."""

SWD_COUNT = 8192
"""Images for swd unless a count is given (Karras et al. 2018 took 16,384)."""

SIMILARITY_COUNT = 2000
"""Images for msssim unless a count is given: 1,000 pairs put its standard error near .005."""

LEAST_COUNT = 10
"""Inception score has ten splits; precision and recall want neighbours; halves want images."""


@dataclass(frozen=True)
class Settings:
    """What to measure and with what.

    metrics: of METRICS. count: fakes; None: 50,000 for the Inception metrics, 8,192 for swd and
    2,000 for msssim.
    seed: of swd's patches and directions (fakes have seeds 0..count-1 always). batch_size: images at once.
    """

    metrics: tuple[str, ...] = WITHOUT_WEIGHTS
    count: int | None = None
    seed: int = 0
    batch_size: int = 32
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    inception: InceptionWeights = field(default_factory=InceptionWeights)

    @property
    def needs_inception(self) -> bool:
        """Whether any metric looks at Inception features."""
        return not INCEPTION_METRICS.isdisjoint(self.metrics)


@dataclass(frozen=True)
class Needs:
    """What to gather of one set of images: for each kind the number of images from the first on, 0: none.

    features, logits: keep them, beyond their moments.
    """

    inception: int = 0
    features: bool = False
    logits: bool = False
    swd: int = 0
    similarity: int = 0

    @property
    def images(self) -> int:
        """How many images must be looked at."""
        return max(self.inception, self.swd, self.similarity)


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


def fake_needs(settings: Settings, reals: int) -> Needs:
    """Of the fakes. swd compares sets of equal size: never more than there are reals."""
    metrics = settings.metrics
    swd = settings.count if settings.count is not None else SWD_COUNT
    similarity = settings.count if settings.count is not None else SIMILARITY_COUNT
    return Needs(
        inception=(settings.count or STANDARD_COUNT) if settings.needs_inception else 0,
        features=_any(metrics, "kid", "pr"),
        logits="is" in metrics,
        swd=min(swd, reals) if "swd" in metrics else 0,
        similarity=similarity // 2 * 2 if "msssim" in metrics else 0,
    )


def real_needs(settings: Settings, reals: int) -> Needs:
    """Of the reals: all of them for the Inception metrics."""
    fakes = fake_needs(settings, reals)
    return Needs(
        inception=reals if _any(settings.metrics, "fid", "kid", "pr") else 0,
        features=fakes.features,
        swd=fakes.swd,
        similarity=min(fakes.similarity, reals) // 2 * 2,
    )


def _any(metrics: Sequence[str], *names: str) -> bool:
    return any(name in metrics for name in names)
