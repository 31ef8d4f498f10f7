"""CIFAR-10 and CIFAR-100 in their binary version: records of one or two class numbers and 32x32 pixels.

Krizhevsky, "Learning multiple layers of features from tiny images", 2009; the data sets' page has the layout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.data.sources.source import Listing, Picture, SourceKind, Wanted, reading_picture, reading_source
from pipeline.errors import Damaged, UserError
from pipeline.images.kinds import Others
from pipeline.images.normalised import Unreadable
from pipeline.reading import read_text

_SIDE = 32
_PIXELS = 3 * _SIDE * _SIDE  # bytes, red before green before blue


@dataclass(frozen=True)
class _Version:
    """What one of the two consists of. columns: for each byte before the pixels, the name of that label, the
    file with the names of its classes, and how many there are; the last label counts unless another is asked
    for."""

    batches: tuple[str, ...]
    test: str
    columns: Mapping[str, tuple[str, int]]

    @property
    def record_bytes(self) -> int:
        return len(self.columns) + _PIXELS


_VERSIONS = (
    _Version(
        tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
        "test_batch.bin",
        {"label": ("batches.meta.txt", 10)},
    ),
    _Version(
        ("train.bin",),
        "test.bin",
        {"coarse": ("coarse_label_names.txt", 20), "fine": ("fine_label_names.txt", 100)},
    ),
)


class CifarSource:
    """The pictures of some batches, which lie in one folder."""

    def __init__(
        self, folder: Path, version: _Version, batches: Sequence[str], column: str | None, title: str
    ) -> None:
        self.title, self._folder, self._size = title, folder, version.record_bytes
        file, classes = version.columns[_label(version, column, title)]
        byte = list(version.columns.values()).index((file, classes))
        names, fault = _class_names(folder / file, classes)
        self._places: list[tuple[str, int]] = []
        labels: list[str] = []
        skipped = [(name, "is not there") for name in batches if not (folder / name).is_file()]
        for batch in batches:
            for record, number in enumerate(self._numbers(batch, byte, skipped)):
                if number >= classes:
                    skipped.append((_name(batch, record), f"its class is {number} of 0 to {classes - 1}"))
                    continue
                self._places.append((batch, record))
                labels.append(names[number] if names else str(number))
        self.listing = Listing(
            [_name(*place) for place in self._places],
            [self._size] * len(self._places),
            labels,
            skipped,
            _others(folder, {*batches, *(name for name, _ in version.columns.values())}),
            labels_fault=fault,
            label_column=column,
            labels_from=file if names else f"numbers, for want of {file}",
        )

    def picture(self, number: int) -> Picture:
        batch, record = self._places[number]
        path = self._folder / batch
        with reading_picture(path), path.open("rb") as file:
            file.seek((record + 1) * self._size - _PIXELS)
            data = file.read(_PIXELS)
        if len(data) != _PIXELS:
            raise Unreadable("the file ends inside it")
        planes = np.frombuffer(data, np.uint8).reshape(3, _SIDE, _SIDE)
        return Picture(Image.fromarray(np.ascontiguousarray(planes.transpose(1, 2, 0))))

    def size(self, number: int) -> tuple[int, int]:
        return _SIDE, _SIDE

    def _numbers(self, batch: str, byte: int, skipped: list[tuple[str, str]]) -> npt.NDArray[np.uint8]:
        """The class number of each whole record of a batch."""
        path = self._folder / batch
        if not path.is_file():
            return np.empty(0, np.uint8)
        with reading_source(path):
            data = np.fromfile(path, np.uint8)
        records, rest = divmod(len(data), self._size)
        if rest:
            skipped.append((batch, f"ends inside record {records}; the {records} before it are taken"))
        return data[: records * self._size].reshape(records, self._size)[:, byte].copy()


def _name(batch: str, record: int) -> str:
    return f"{batch.removesuffix('.bin')}/{record:05d}"


def _label(version: _Version, column: str | None, title: str) -> str:
    if column is None:
        return list(version.columns)[-1]
    if column not in version.columns:
        raise UserError(f"{title}: has no label {column!r}; allowed: {', '.join(version.columns)}")
    return column


def _class_names(path: Path, count: int) -> tuple[list[str], str | None]:
    """(the names of the classes by number, none if there is no such file; what is wrong with them)"""
    try:
        lines = [line.strip() for line in read_text(path).splitlines()]
    except FileNotFoundError:
        return [], None
    except Damaged as damage:
        return [], str(damage)
    names = [line for line in lines if line]
    if len(names) != count or len(set(names)) != count:
        return [], f"{path}: has {len(set(names))} names of classes where {count} are needed"
    return names, None


def _others(folder: Path, known: set[str]) -> Others:
    others = Others()
    with reading_source(folder):
        for name in sorted(path.name for path in folder.iterdir() if path.is_file()):
            if name not in known and not name.startswith("."):
                others.add(name)
    return others


def _recognised(source: str) -> tuple[Path, _Version, tuple[str, ...]] | None:
    """(folder, version, batches) of a folder, or of one batch in it."""
    path = Path(source)
    for version in _VERSIONS:
        if path.is_dir() and any(_is_batch(path / name, version) for name in version.batches):
            return path, version, version.batches
        if path.name in (*version.batches, version.test) and _is_batch(path, version):
            return path.parent, version, (path.name,)
    return None


def _is_batch(path: Path, version: _Version) -> bool:
    """Whether a file is a batch: others call their files train.bin, too."""
    if not path.is_file():
        return False
    known = any((path.parent / name).is_file() for name, _ in version.columns.values())
    return known or len(version.batches) > 1 or path.stat().st_size % version.record_bytes == 0


def _open(source: str, wanted: Wanted) -> CifarSource:
    recognised = _recognised(source)
    assert recognised is not None
    return CifarSource(*recognised, wanted.label_column, Path(source).resolve().name)


KIND = SourceKind("CIFAR's binary version", lambda source: _recognised(source) is not None, _open)
