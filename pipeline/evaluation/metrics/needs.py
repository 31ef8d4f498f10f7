"""What a metric takes of a set of images.

A view is what is seen of each block of images, in any process. A statistic keeps what a view saw, in the
first process, block by block in their order. A fact is known of the reals: it is made of statistics or of
other facts, once a data set, and kept on disk. All three are values: equal ones are looked at, kept and made
once, however many metrics ask for them.

Modules of this folder import torch inside functions only: `hrgan runs` and help ask for names and
directions, and have to answer at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pipeline.contracts import ImageSpec
    from pipeline.evaluation.features.extractor import Extractor
    from pipeline.evaluation.peers import Peers

T = TypeVar("T")
Kept = TypeVar("Kept", covariant=True)
Tensors = dict[str, "Tensor"]
Look = Callable[["Block"], Sequence["Tensor"]]


class Block:
    """uint8 RGB images [N, 3, H, W] on the device, the first of which has the even place `first` in its
    set."""

    def __init__(self, images: Tensor, first: int, extractors: Mapping[str, Extractor]) -> None:
        self.images, self.first = images, first
        self._extractors = extractors
        self._extracted: dict[tuple[str, int], tuple[Tensor, Tensor | None]] = {}

    def up_to(self, count: int) -> Tensor:
        """Those of the block that are among the first `count` images of the set."""
        return self.images[: max(count - self.first, 0)]

    def extracted(self, name: str, count: int) -> tuple[Tensor, Tensor | None]:
        """Features and logits of `up_to(count)`, on the CPU; the extractor looks once at the same images."""
        images = self.up_to(count)
        key = name, len(images)
        if key not in self._extracted:
            self._extracted[key] = self._extractors[name](images)
        return self._extracted[key]


class View(Protocol):
    """What is seen of the first `images` images of a set. Images beyond them do not enter it, so that a
    figure does not depend on what else is measured."""

    @property
    def images(self) -> int: ...

    def opened(self, spec: ImageSpec) -> Look:
        """Ready for one pass over images of `spec`: a block -> tensors on the CPU."""
        ...


class Keeper(Protocol[Kept]):
    """What a statistic is gathered in."""

    def add(self, seen: Sequence[Tensor]) -> None:
        """Takes in what the view saw of the next block."""
        ...

    def value(self) -> Kept:
        """What was gathered of all blocks."""
        ...


class Statistic(Protocol[Kept]):
    """What is gathered of a set of images through a view."""

    @property
    def view(self) -> View: ...

    def keeper(self, spec: ImageSpec) -> Keeper[Kept]:
        """An empty one, for images of `spec`."""
        ...


@dataclass(frozen=True)
class Rows:
    """All that a view sees, as one tensor [N, ...] in the order of the images."""

    view: View

    def keeper(self, spec: ImageSpec) -> Keeper[Tensor]:
        """See `Statistic`."""
        return _RowsKeeper()


class _RowsKeeper:
    def __init__(self) -> None:
        self._parts: list[Tensor] = []

    def add(self, seen: Sequence[Tensor]) -> None:
        (rows,) = seen
        self._parts.append(rows)

    def value(self) -> Tensor:
        import torch

        if len(self._parts) > 1:
            self._parts = [torch.cat(self._parts)]
        return self._parts[0]


class Reals(Protocol):
    """What facts and figures may ask about the reals, see `reference.Reference`; for all but `peers` and
    `device`, on the first process alone."""

    @property
    def peers(self) -> Peers: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def class_names(self) -> tuple[str, ...]: ...

    def gathered(self, statistic: Statistic[T]) -> T:
        """What was gathered of the reals for `statistic`."""
        ...

    def fact(self, fact: Fact) -> Tensors:
        """A fact that is known already."""
        ...

    def labels_here(self) -> list[int]:
        """The class of every real, in order."""
        ...


class Fact(ABC):
    """Something that is known of the reals, as tensors by name on the first process.

    kind: under which it is cached. shared: whether all processes work to make it.
    """

    kind: ClassVar[str]
    shared: ClassVar[bool] = False

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        """Of the reals: what must be gathered to make it."""
        return ()

    @property
    def facts(self) -> tuple[Fact, ...]:
        """What must be known before it is made."""
        return ()

    @abstractmethod
    def key(self, extractors: Mapping[str, Extractor]) -> Mapping[str, Any]:
        """What decides it beside the data; under it and `kind` it is found again."""

    @abstractmethod
    def make(self, reals: Reals) -> Tensors:
        """The fact, on the first process, from what `reals` has gathered and knows there; what other
        processes of a `shared` one give is not looked at."""


@dataclass(frozen=True)
class Needs:
    """What a metric takes. fakes: gathered of the generated images. facts: known of the reals. reals:
    gathered of them anew each time, because it is large and quickly made."""

    fakes: tuple[Statistic[Any], ...] = ()
    facts: tuple[Fact, ...] = ()
    reals: tuple[Statistic[Any], ...] = ()

    def __add__(self, other: Needs) -> Needs:
        """What both take, each once; a fact after those it is made from."""
        facts = [one for fact in (*self.facts, *other.facts) for one in (*fact.facts, fact)]
        return Needs(
            tuple(dict.fromkeys((*self.fakes, *other.fakes))),
            tuple(dict.fromkeys(facts)),
            tuple(dict.fromkeys((*self.reals, *other.reals))),
        )


def images_of(statistics: Sequence[Statistic[Any]]) -> int:
    """How many images must be looked at to gather all of these."""
    return max((statistic.view.images for statistic in statistics), default=0)
