"""A metric as a value. What evaluates, ranks, stops and shows is a loop over the registry's values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pipeline.evaluation.metrics.needs import Needs

if TYPE_CHECKING:
    from pipeline.evaluation.compared import Compared
    from pipeline.evaluation.features.extractor import Extractor
    from pipeline.evaluation.settings import Asked, Settings

Figures = dict[str, Any]
Better = Literal["lower is better", "higher is better", "best near the reals"]

STANDARD_COUNT = 50_000
"""Fakes, as most published figures have it."""


def _nowhere(figures: Mapping[str, Any]) -> str:
    return ""


@dataclass(frozen=True)
class Shown:
    """How people are told of a metric.

    head: of its column. unit: after the head. better: which values are. scale: a table shows figures times
    this. parts: keys of the figures that people know it by. reals: from the figures, where the reals are, as
    far as it is known; begins with punctuation.
    """

    head: str
    unit: str = ""
    better: Better = "lower is better"
    scale: float = 1.0
    parts: tuple[str, ...] = ("value",)
    reals: Callable[[Mapping[str, Any]], str] = _nowhere

    @property
    def heads(self) -> tuple[str, ...]:
        """Of its columns, one a part."""
        return (f"{self.head} {self.unit}".strip(),) if self.parts == ("value",) else self.parts


class Metric(ABC):
    """One of the registry's values.

    name: in options and results. shown: see `Shown`. title: what it is, for people. weights: whose it needs,
    for people; "": nobody's. standard: fakes unless a count is given; of a data set, with `whole` all images
    instead of at most `standard`. generator: walks through a generator's latents, and compares with no reals.
    labels: needs classes of both model and reals. logits: takes the extractor's logits. by_class: has figures
    within each class if they are asked for. shared: its figure is work for all processes. moved_by: keys of
    `identity` that move the figure, beside data, count and sets.
    """

    name: str
    title: str
    shown: Shown
    weights: str = ""
    standard: int = STANDARD_COUNT
    whole: ClassVar[bool] = True
    generator: ClassVar[bool] = False
    labels: ClassVar[bool] = False
    logits: ClassVar[bool] = False
    by_class: ClassVar[bool] = False
    shared: ClassVar[bool] = False
    moved_by: ClassVar[tuple[str, ...]] = ()

    @property
    def plain(self) -> bool:
        """Whether it needs neither weights nor anything but two sets of images."""
        return not (self.weights or self.generator or self.labels)

    @property
    def wants(self) -> str:
        """What it needs beside images, in words."""
        if self.weights:
            return f"{self.weights} weights"
        return "classes of model and reals" if self.labels else "nothing"

    def extractor_in(self, settings: Settings) -> str | None:
        """Whose features it looks at; None: nobody's."""
        return None

    def least_side(self, settings: Settings) -> int:
        """Pixels of the shorter side that images must have."""
        return 1

    def count(self, asked: Asked) -> int:
        """Fakes that it takes."""
        if self.whole:
            return asked.settings.count or asked.stored or self.standard
        if asked.settings.count is not None:
            return asked.settings.count
        return min(self.standard, asked.stored or self.standard)

    def needs(self, asked: Asked) -> Needs:
        """What it takes of fakes and reals."""
        return Needs()

    def identity(self, asked: Asked, extractors: Mapping[str, Extractor]) -> Figures:
        """What decides its figure beside snapshot, data, count and sets: figures with another compare with
        nothing."""
        return {}

    @abstractmethod
    def figure(self, compared: Compared) -> Figures:
        """`value`, and what belongs to it. Called on the first process; on all of them if `shared`, where
        what others give is not looked at."""

    def readers(self, settings: Settings) -> tuple[Callable[[], object], ...]:
        """What reads weights of its own, beside an extractor's: called before anything is started, for where
        the work runs there may be no way out. Each raises UserError, in one line, if they are not there."""
        return ()
