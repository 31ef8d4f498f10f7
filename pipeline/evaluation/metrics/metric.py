"""A metric as a value. Evaluating, ranking, stopping and display are loops over the values in the
registry."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pipeline.evaluation.metrics.needs import Needs

if TYPE_CHECKING:
    from pipeline.contracts import Sampler
    from pipeline.evaluation.compared import Compared
    from pipeline.evaluation.features.extractor import Extractor
    from pipeline.evaluation.settings import Asked, Settings

Figures = dict[str, Any]
Better = Literal["lower is better", "higher is better", "best near the reals"]

STANDARD_COUNT = 50_000
"""The number of fakes behind most published figures."""


def _nowhere(figures: Mapping[str, Any]) -> str:
    return ""


@dataclass(frozen=True)
class Shown:
    """How a metric is presented to people.

    head: the heading of its column. unit: what follows the heading. better: which values are better. scale:
    the factor by which tables multiply the figures. parts: the keys of the figures by which people know the
    metric. reals: makes of the figures a phrase, beginning with punctuation, that says what the reals score
    as far as it is known.
    """

    head: str
    unit: str = ""
    better: Better = "lower is better"
    scale: float = 1.0
    parts: tuple[str, ...] = ("value",)
    reals: Callable[[Mapping[str, Any]], str] = _nowhere

    @property
    def heads(self) -> tuple[str, ...]:
        """The headings of its columns, one for each part."""
        return (f"{self.head} {self.unit}".strip(),) if self.parts == ("value",) else self.parts


class Metric(ABC):
    """One of the registry's values.

    name: its name in options and results. title: its name in words. shown: see `Shown`. weights: the networks
    whose weights it needs, in words; empty if none. standard: how many fakes it takes unless told. whole:
    whether it takes all images of a data set instead of at most `standard`. generator: whether it works
    on a generator itself and compares with no reals. labels: whether the model and the reals must
    both have classes. reconstructs: whether it measures a model's reconstructions of the reals in the place
    of fakes. rates: whether it measures how likely a model finds the reals. classifies: whether it measures
    what classes a model takes the reals for. logits: whether it uses the
    extractor's logits. by_class: whether it can be computed within each class. shared: whether all processes
    work on its figure. moved_by: the keys of `identity` that change the figure, besides data, count and sets.
    """

    name: str
    title: str
    shown: Shown
    weights: str = ""
    standard: int = STANDARD_COUNT
    whole: ClassVar[bool] = True
    generator: ClassVar[bool] = False
    labels: ClassVar[bool] = False
    reconstructs: ClassVar[bool] = False
    rates: ClassVar[bool] = False
    classifies: ClassVar[bool] = False
    logits: ClassVar[bool] = False
    by_class: ClassVar[bool] = False
    shared: ClassVar[bool] = False
    moved_by: ClassVar[tuple[str, ...]] = ()

    @property
    def plain(self) -> bool:
        """Whether two sets of images are all that it needs: no weights, model or labels."""
        return not (self.weights or self.generator or self.labels or self.reconstructs or self.rates)

    @property
    def wants(self) -> str:
        """What it needs besides images, in words."""
        if self.reconstructs:
            return f"a model that encodes{f' and {self.weights} weights' if self.weights else ''}"
        if self.rates:
            return "a model that gives images a likelihood"
        if self.classifies:
            return "a model that tells classes"
        if self.weights:
            return f"{self.weights} weights"
        return "classes of model and reals" if self.labels else "nothing"

    def extractor_in(self, settings: Settings) -> str | None:
        """The extractor whose features it uses under `settings`; None if it uses none."""
        return None

    def least_side(self, settings: Settings) -> int:
        """The smallest allowed length of an image's shorter side, in pixels."""
        return 1

    def count(self, asked: Asked) -> int:
        """The number of fakes that it takes."""
        if self.whole:
            return asked.settings.count or asked.stored or self.standard
        if asked.settings.count is not None:
            return asked.settings.count
        return min(self.standard, asked.stored or self.standard)

    def refusal(self, sampler: Sampler) -> str:
        """Why it has no figure of the sampler's model, which has all that the other attributes ask for; empty
        if it has one. Asked before anything is measured."""
        return ""

    def needs(self, asked: Asked) -> Needs:
        """What it needs to be gathered from the fakes and known about the reals."""
        return Needs()

    def identity(self, asked: Asked, extractors: Mapping[str, Extractor]) -> Figures:
        """What determines its figure besides snapshot, data, count and sets. Figures that differ in this
        cannot be compared."""
        return {}

    @abstractmethod
    def figure(self, compared: Compared) -> Figures:
        """`value`, and what belongs to it; nothing if there is none, and then no result. Called on the first
        process alone, or on all of them if `shared`; what the others return is ignored."""

    def readers(self, settings: Settings) -> tuple[Callable[[], object], ...]:
        """Functions that read weights of its own, besides an extractor's. They are called before any job
        starts, because the machine that does the work may have no access to the network. Each raises a
        one-line UserError if the weights are missing."""
        return ()
