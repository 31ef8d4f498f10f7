"""A set of fakes beside the reals, from which a metric computes its figure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from pipeline.contracts import ImageSpec, Sampler
from pipeline.evaluation.metrics.needs import Fact, Reals, Statistic, Tensors
from pipeline.evaluation.peers import Peers
from pipeline.evaluation.settings import Asked
from pipeline.evaluation.statistics import Statistics

T = TypeVar("T")


@dataclass(frozen=True)
class Walkable:
    """The generator behind a set of fakes: the sampler that draws them, the seed of the first (`origin`), and
    the reals' labels, from which each fake gets its class (see `fakes.classes_of`)."""

    sampler: Sampler
    origin: int
    labels: list[int] | None


@dataclass(frozen=True)
class Compared:
    """A set of fakes and the reals, as a metric sees them. The members are the same on every process except
    `seen`, and only the first process may ask for what was gathered or is known.

    asked: what the metrics were asked for. seen: what was gathered from the fakes; None except on the first
    process. classes: the class number of each fake; None if unknown. reference: what is known about the
    reals. spec: the format of the images. walkable: the generator; None if a data set is measured. kept: what
    `once_a_job` has made. originals: returns the uint8 reals [N, C, H, W] at a range of places, if the fakes
    are reconstructions of them or there are none.
    """

    asked: Asked
    seen: Statistics | None
    classes: Sequence[int] | None
    reference: Reals
    peers: Peers
    spec: ImageSpec
    walkable: Walkable | None
    kept: dict[object, Any]
    originals: Callable[[range], Tensor] | None = None
    _shared: dict[object, Any] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """The device to compute on."""
        return self.asked.settings.device

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, by class number."""
        return self.reference.class_names

    def fakes(self, statistic: Statistic[T]) -> T:
        """What `statistic` gathered from the fakes."""
        assert self.seen is not None, "the first process gathers"
        return self.seen.of(statistic)

    def reals(self, statistic: Statistic[T]) -> T:
        """What `statistic` gathered from the reals."""
        return self.reference.gathered(statistic)

    def fact(self, fact: Fact) -> Tensors:
        """A fact about the reals."""
        return self.reference.fact(fact)

    def fake_classes(self, count: int) -> Sequence[int]:
        """The classes that the first `count` fakes were generated for."""
        assert self.classes is not None, "checked before: both sets have classes"
        return self.classes[:count]

    def real_classes(self) -> Sequence[int]:
        """The classes of the reals, in order."""
        return self.reference.labels_here()

    def once(self, key: object, make: Callable[[], T]) -> T:
        """The result of `make`, which is called once for each set of fakes and shared by all metrics that
        give the same key."""
        return _once(self._shared, key, make)

    def once_a_job(self, key: object, make: Callable[[], T]) -> T:
        """Like `once`, but called once for all sets; meant for networks."""
        return _once(self.kept, key, make)


def _once(made: dict[object, Any], key: object, make: Callable[[], T]) -> T:
    if key not in made:
        made[key] = make()
    return cast(T, made[key])
