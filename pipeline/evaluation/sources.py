"""Where the images to be measured come from: a snapshot's generator or a data set, whether generated or
not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch

from pipeline.contracts import Classifier, Evidential, ImageSpec, Sampler
from pipeline.data.shards.index import INDEX_NAME, ShardIndex
from pipeline.data.shards.reader import read_labels
from pipeline.data.stores.place import Place
from pipeline.data.streaming.numbered import UnflippedReader
from pipeline.errors import UserError
from pipeline.evaluation.fakes import Images, classes_of, draw_fakes, reconstructs, shifted
from pipeline.evaluation.metrics.registry import METRICS
from pipeline.evaluation.plan import SEED_STRIDE, check_count
from pipeline.evaluation.results import Result, about_data, result_path, set_result_path
from pipeline.evaluation.settings import Settings
from pipeline.randomness import derive_seed, seeded
from pipeline.storage.snapshots import Snapshot, open_snapshot

MakeSampler = Callable[[Snapshot], Sampler]


class Source(Protocol):
    """Images to be measured.

    where: the folder they come from. spec, classes: their format and the names of their classes. title:
    labels the progress bar. stored: how many images there are; None if any number can be made. result: an
    empty result to add figures to. result_path: the file of the result.
    """

    where: Place
    spec: ImageSpec
    classes: tuple[str, ...]
    title: str
    result: Result
    result_path: Path

    @property
    def stored(self) -> int | None: ...

    def check(self, settings: Settings) -> None:
        """Raises UserError for settings that do not apply to these images."""
        ...

    def opened(self, number: int, labels: list[int] | None) -> Any:
        """A context manager that yields the `Images` of set `number`. `labels` are those of the reals, see
        `fakes.classes_of`."""
        ...

    def classes_here(self, number: int, count: int, labels: list[int] | None) -> list[int] | None:
        """The classes of the first `count` images of set `number`; None if they are unknown."""
        ...


class SnapshotSource:
    """Images that a snapshot's generator makes from seeds. Each set has its own range of seeds."""

    stored = None

    def __init__(self, snapshot: Snapshot, make_sampler: MakeSampler) -> None:
        self.snapshot, self._make_sampler = snapshot, make_sampler
        self.where: Place = snapshot.folder
        self.spec, self.classes = snapshot.spec, snapshot.classes
        self.title = f"fakes, {snapshot.age}"
        seen = snapshot.images_seen
        source = snapshot.source if seen is None else None
        self.result = Result(seen or 0, snapshot.digest, {}, source=source)
        self.result_path = result_path(snapshot)

    @cached_property
    def sampler(self) -> Sampler:
        """The sampler, made once and only when needed, because its large weights are verified when they are
        read."""
        return self._make_sampler(self.snapshot)

    def check(self, settings: Settings) -> None:
        """See `Source`."""
        again = _reconstructing(settings)
        if again and not reconstructs(self.sampler):
            raise UserError(
                f"--metrics {','.join(again)}: measures reconstructions, and {self.where} encodes no images; "
                "leave it out"
            )
        rating = _rating(settings)
        if rating and not isinstance(self.sampler, Evidential):
            raise UserError(
                f"--metrics {','.join(rating)}: measures how likely a model finds images, and {self.where} "
                "tells nothing of that; leave it out"
            )
        telling = _classifying(settings)
        if telling and not isinstance(self.sampler, Classifier):
            raise UserError(
                f"--metrics {','.join(telling)}: measures what classes a model takes images for, and "
                f"{self.where} tells none; leave it out"
            )

    def check_model(self, metrics: Sequence[str]) -> None:
        """Raises UserError if one of these metrics, which are to be measured, has no figure of this model."""
        for name in metrics:
            why = METRICS[name].refusal(self.sampler)
            if why:
                raise UserError(f"--metrics {name}: {why}")

    @contextmanager
    def opened(self, number: int, labels: list[int] | None) -> Iterator[Images]:
        """See `Source`."""
        origin = number * SEED_STRIDE
        yield lambda places: draw_fakes(self.sampler, shifted(places, origin), labels)

    def classes_here(self, number: int, count: int, labels: list[int] | None) -> list[int] | None:
        """See `Source`."""
        return classes_of(shifted(range(count), number * SEED_STRIDE), labels)


class DataSource:
    """The images of a data set, as stored."""

    def __init__(self, index: ShardIndex, reals: ShardIndex) -> None:
        self._index = index
        self.where, self.spec, self.classes = index.root, index.spec, index.classes
        self.title = f"images of {index.root.name}"
        self.stored = index.count
        self.result = Result(0, "", {}, measured=about_data(index))
        self.result_path = set_result_path(index, reals)

    def check(self, settings: Settings) -> None:
        """See `Source`."""
        where, walks = self.where, sorted(name for name in settings.metrics if METRICS[name].generator)
        if walks:
            raise UserError(
                f"--metrics {','.join(walks)}: works on a generator itself, and {where} is a data set; "
                "leave it out, or evaluate the snapshot"
            )
        again = _reconstructing(settings)
        if again:
            raise UserError(
                f"--metrics {','.join(again)}: measures reconstructions, and {where} is a data set; leave it "
                "out, or evaluate the snapshot"
            )
        rating = _rating(settings)
        if rating:
            raise UserError(
                f"--metrics {','.join(rating)}: measures how likely a model finds images, and {where} is a "
                "data set; leave it out, or evaluate the snapshot"
            )
        telling = _classifying(settings)
        if telling:
            raise UserError(
                f"--metrics {','.join(telling)}: measures what classes a model takes images for, and {where} "
                "is a data set; leave it out, or evaluate the snapshot"
            )
        if settings.inputs is not None:
            raise UserError(f"--inputs: {where} is a data set, which is made of nothing else; leave it out")
        if settings.seeds > 1:
            raise UserError(f"--seeds {settings.seeds}: {where} is a single set of images; allowed: 1")
        check_count(settings.count, self._index.count, str(where))
        if settings.count is not None and settings.count > self._index.count:
            raise UserError(f"--count {settings.count}: {where} holds {self._index.count} images")

    @contextmanager
    def opened(self, number: int, labels: list[int] | None) -> Iterator[Images]:
        """See `Source`."""
        with stored_images(self._index, self._order) as images:
            yield images

    def classes_here(self, number: int, count: int, labels: list[int] | None) -> list[int] | None:
        """See `Source`."""
        if not self.classes:
            return None
        labels = read_labels(self._index)
        return [labels[number] for number in self._order[:count]]

    @cached_property
    def _order(self) -> Sequence[int]:
        """The order in which images are taken: as stored, or shuffled if class or truncation depend on an
        image's place, because the first images would then not represent the whole set."""
        count = self._index.count
        if not _goes_by_place(self._index.origin):
            return range(count)
        generator = seeded(derive_seed("evaluation-order", count))
        order: list[int] = torch.randperm(count, generator=generator).tolist()
        return order


def _reconstructing(settings: Settings) -> list[str]:
    return [name for name in settings.metrics if METRICS[name].reconstructs]


def _rating(settings: Settings) -> list[str]:
    return [name for name in settings.metrics if METRICS[name].rates]


def _classifying(settings: Settings) -> list[str]:
    return [name for name in settings.metrics if METRICS[name].classifies]


def _goes_by_place(origin: Mapping[str, Any]) -> bool:
    """Whether `generate` cycled through classes, or gave each image one of several truncations."""
    classes, psis = origin.get("classes"), origin.get("truncation")
    in_turn = isinstance(classes, list) and len(classes) > 1 and "class_weights" not in origin
    return origin.get("made_by") == "generate" and (in_turn or isinstance(psis, list))


def source_of(what: Snapshot | ShardIndex, reals: ShardIndex, make_sampler: MakeSampler) -> Source:
    """The images of a snapshot or a data set, to be compared with `reals`."""
    if isinstance(what, ShardIndex):
        return DataSource(what, reals)
    return SnapshotSource(what, make_sampler)


def is_data(folder: Path) -> bool:
    """Whether `folder` is a data set."""
    return (folder / INDEX_NAME).is_file()


def open_measured(folder: Path) -> Snapshot | ShardIndex:
    """The snapshot or data set in `folder`; for a run, its newest snapshot. UserError if there is none."""
    return ShardIndex.read(folder) if is_data(folder) else open_snapshot(folder)


@contextmanager
def stored_images(index: ShardIndex, order: Sequence[int] | None = None) -> Iterator[Images]:
    """The images of a data set, in stored order or in `order`."""
    numbers = range(index.count) if order is None else order
    with UnflippedReader(index) as reader:
        yield lambda places: reader.read([numbers[place] for place in places])[0]
