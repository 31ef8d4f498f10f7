"""A set of fakes beside the reals: what a metric makes its figure from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import torch

from pipeline.contracts import ImageSpec, Sampler
from pipeline.evaluation.metrics.needs import Fact, Reals, Statistic, Tensors
from pipeline.evaluation.peers import Peers
from pipeline.evaluation.settings import Asked
from pipeline.evaluation.statistics import Statistics

T = TypeVar("T")


@dataclass(frozen=True)
class Walkable:
    """The generator behind a set of fakes: what draws them, the seed of the first, and the reals' labels, by
    which each has its class (see `fakes.classes_of`)."""

    sampler: Sampler
    origin: int
    labels: list[int] | None


@dataclass(frozen=True)
class Compared:
    """What was gathered and is known serves the first process alone; the members are the same everywhere,
    but for `seen`, which others do not have.

    asked: of the metrics. seen: gathered of the fakes. classes: of each fake; None if they are not known.
    spec: of the images. walkable: None of a data set. kept: what `once_a_job` has made.
    """

    asked: Asked
    seen: Statistics | None
    classes: Sequence[int] | None
    reference: Reals
    peers: Peers
    spec: ImageSpec
    walkable: Walkable | None
    kept: dict[object, Any]
    _shared: dict[object, Any] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Where to compute."""
        return self.asked.settings.device

    @property
    def class_names(self) -> tuple[str, ...]:
        """By class number."""
        return self.reference.class_names

    def fakes(self, statistic: Statistic[T]) -> T:
        """What was gathered of the fakes."""
        assert self.seen is not None, "the first process gathers"
        return self.seen.of(statistic)

    def reals(self, statistic: Statistic[T]) -> T:
        """What was gathered of the reals."""
        return self.reference.gathered(statistic)

    def fact(self, fact: Fact) -> Tensors:
        """What is known of the reals."""
        return self.reference.fact(fact)

    def fake_classes(self, count: int) -> Sequence[int]:
        """The classes that were asked for of the first `count` fakes."""
        assert self.classes is not None, "checked before: both sets have classes"
        return self.classes[:count]

    def real_classes(self) -> Sequence[int]:
        """The classes of the reals, in order."""
        return self.reference.labels_here()

    def once(self, key: object, make: Callable[[], T]) -> T:
        """What `make` gives, made once a set of fakes for all metrics that name the same key."""
        return _once(self._shared, key, make)

    def once_a_job(self, key: object, make: Callable[[], T]) -> T:
        """As `once`, for what serves all sets: networks."""
        return _once(self.kept, key, make)


def _once(made: dict[object, Any], key: object, make: Callable[[], T]) -> T:
    if key not in made:
        made[key] = make()
    return cast(T, made[key])
