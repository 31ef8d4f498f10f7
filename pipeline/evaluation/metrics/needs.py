"""What a metric needs from a set of images.

A view is what is observed of each block of images, in any process. A statistic accumulates, on the first
process, what a view observed, block by block in order. A fact is something known about the reals: it is made
from statistics or other facts once for each data set, and cached on disk. All three are values: equal ones
are observed, accumulated and made once, however many metrics ask for them.

Modules of this folder import torch inside functions only, because `hrgan runs` and `--help` read names and
directions from them and must answer at once.
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
    """A block of uint8 RGB images [N, 3, H, W] on the device. `first` is the place of its first image in the
    set, an even number. `originals` are the reals that they reconstruct, in the same form; None if they
    reconstruct nothing."""

    def __init__(
        self,
        images: Tensor,
        first: int,
        extractors: Mapping[str, Extractor],
        originals: Tensor | None = None,
    ) -> None:
        self.images, self.first, self.originals = images, first, originals
        self._extractors = extractors
        self._extracted: dict[tuple[str, int], tuple[Tensor, Tensor | None]] = {}

    def up_to(self, count: int) -> Tensor:
        """The images of this block that are among the first `count` of the set."""
        return self.images[: max(count - self.first, 0)]

    def pairs_up_to(self, count: int) -> tuple[Tensor, Tensor]:
        """`up_to(count)`, and the reals that they reconstruct."""
        assert self.originals is not None, "asked of images that reconstruct nothing"
        return self.up_to(count), self.originals[: max(count - self.first, 0)]

    def extracted(self, name: str, count: int) -> tuple[Tensor, Tensor | None]:
        """Features and logits of `up_to(count)`, on the CPU. The extractor runs once over the same images,
        however often they are asked for."""
        images = self.up_to(count)
        key = name, len(images)
        if key not in self._extracted:
            self._extracted[key] = self._extractors[name](images)
        return self._extracted[key]


class View(Protocol):
    """What is observed of the first `images` images of a set. Later images are never included, so that a
    figure does not depend on what else is measured."""

    @property
    def images(self) -> int: ...

    def opened(self, spec: ImageSpec) -> Look:
        """A function for one pass over images of `spec`, from a block to tensors on the CPU."""
        ...


class Keeper(Protocol[Kept]):
    """What a statistic accumulates in."""

    def add(self, seen: Sequence[Tensor]) -> None:
        """Adds what the view observed of the next block."""
        ...

    def value(self) -> Kept:
        """What was accumulated over all blocks."""
        ...


class Statistic(Protocol[Kept]):
    """What is accumulated over a set of images through a view."""

    @property
    def view(self) -> View: ...

    def keeper(self, spec: ImageSpec) -> Keeper[Kept]:
        """An empty keeper for images of `spec`."""
        ...


@dataclass(frozen=True)
class Rows:
    """Everything that a view observes, as one tensor [N, ...] in the order of the images."""

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
    """What facts and figures may ask about the reals; `reference.Reference` answers. `peers`, `device` and
    `class_names` can be read on every process, all else on the first process alone."""

    @property
    def peers(self) -> Peers: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def class_names(self) -> tuple[str, ...]: ...

    def gathered(self, statistic: Statistic[T]) -> T:
        """What `statistic` accumulated over the reals."""
        ...

    def fact(self, fact: Fact) -> Tensors:
        """A fact that has been made or read from the cache."""
        ...

    def labels_here(self) -> list[int]:
        """The class number of every real, in order."""
        ...


class Fact(ABC):
    """Something known about the reals, as named tensors on the first process.

    kind: the name under which it is cached. shared: whether all processes work together to make it.
    """

    kind: ClassVar[str]
    shared: ClassVar[bool] = False

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        """The statistics of the reals that it is made from."""
        return ()

    @property
    def facts(self) -> tuple[Fact, ...]:
        """The facts that it is made from."""
        return ()

    @abstractmethod
    def key(self, extractors: Mapping[str, Extractor]) -> Mapping[str, Any]:
        """What determines it besides the data; with `kind`, this is its key in the cache."""

    @abstractmethod
    def make(self, reals: Reals) -> Tensors:
        """Makes the fact, on the first process, from what `reals` has gathered and knows. If `shared`, every
        process calls it, and what the others return is ignored."""


@dataclass(frozen=True)
class Needs:
    """What a metric needs. fakes: statistics of the generated images. facts: facts about the reals. reals:
    statistics of the reals that are gathered anew each time, because they are large and quick to make."""

    fakes: tuple[Statistic[Any], ...] = ()
    facts: tuple[Fact, ...] = ()
    reals: tuple[Statistic[Any], ...] = ()

    def __add__(self, other: Needs) -> Needs:
        """The union of both, without repetition; every fact follows those it is made from."""
        facts = [one for fact in (*self.facts, *other.facts) for one in (*fact.facts, fact)]
        return Needs(
            tuple(dict.fromkeys((*self.fakes, *other.fakes))),
            tuple(dict.fromkeys(facts)),
            tuple(dict.fromkeys((*self.reals, *other.reals))),
        )


def images_of(statistics: Sequence[Statistic[Any]]) -> int:
    """How many images must be looked at for all of `statistics`."""
    return max((statistic.view.images for statistic in statistics), default=0)
