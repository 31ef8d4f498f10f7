"""IDX, the form of MNIST and of sets that follow it: a file of images, and one of their labels beside it.

LeCun, Cortes and Burges, "The MNIST database of handwritten digits": the layout is described on its page.
"""

from __future__ import annotations

import gzip
import re
import struct
import zlib
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.data.sources.source import Listing, Picture, SourceKind, Wanted, reading_picture, reading_source
from pipeline.errors import UserError
from pipeline.images.kinds import Others
from pipeline.images.normalised import MOST_SIDE, Unreadable

_IMAGES = re.compile(r"(.*)images([-.])idx3([-.])ubyte(\.gz)?")
_UBYTE = 8  # the code of the type in byte 2
_MOST_BYTES = 1 << 32  # of pixels in one file
_CHUNK = 1 << 20


@dataclass(frozen=True)
class _Head:
    """What an IDX file says of itself: its dimensions, and at which byte its data begin."""

    shape: tuple[int, ...]
    start: int


class IdxSource:
    """The images of one file, as named by their numbers, with the class numbers of the file beside it."""

    def __init__(self, path: Path, title: str, others: Others) -> None:
        self.title, self._path = title, path
        with reading_source(path), _opened(path) as file:
            self._head = _head(path, file, 3)
        count, self._height, self._width = self._head.shape
        if not 1 <= min(self._height, self._width) <= max(self._height, self._width) <= MOST_SIDE:
            raise UserError(f"{path}: images of {self._width}x{self._height} pixels; 1 to {MOST_SIDE} a side")
        # What is compressed cannot be read at any place, so it is kept.
        self._data = _read(path, self._head) if path.suffix == ".gz" else None
        there = self._bytes_there() // (self._height * self._width)
        whole = min(count, there)
        skipped = []
        if whole < count:
            skipped.append((path.name, f"ends inside image {whole} of {count}; those before it are taken"))
        labels, where, fault = _labels(path, count)
        self.listing = Listing(
            [f"{number:08d}" for number in range(whole)],
            [self._height * self._width] * whole,
            None if labels is None else [str(label) for label in labels[:whole]],
            skipped,
            others,
            labels_fault=fault,
            labels_from=where,
        )

    def picture(self, number: int) -> Picture:
        size = self._height * self._width
        if self._data is not None:
            data = self._data[number * size : (number + 1) * size].tobytes()
        else:
            with reading_picture(self._path), self._path.open("rb") as file:
                file.seek(self._head.start + number * size)
                data = file.read(size)
        if len(data) != size:
            raise Unreadable("the file ends inside it")
        return Picture(Image.frombytes("L", (self._width, self._height), data))

    def size(self, number: int) -> tuple[int, int]:
        return self._width, self._height

    def _bytes_there(self) -> int:
        if self._data is not None:
            return len(self._data)
        return self._path.stat().st_size - self._head.start


def _opened(path: Path) -> gzip.GzipFile | BufferedReader:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def _head(path: Path, file: gzip.GzipFile | BufferedReader, dimensions: int) -> _Head:
    """The head of an IDX file of bytes with so many dimensions. Errors: UserError for anything else."""
    size = 4 * (1 + dimensions)
    try:
        data = file.read(size)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: cannot be unpacked ({error})") from error
    if len(data) != size or data[:4] != bytes((0, 0, _UBYTE, dimensions)):
        raise UserError(
            f"{path}: is no IDX file of bytes in {dimensions} dimensions: begins {data[:4].hex()}"
        )
    shape = struct.unpack(f">{dimensions}I", data[4:])
    if int(np.prod([float(n) for n in shape])) > _MOST_BYTES:
        raise UserError(f"{path}: has {'x'.join(map(str, shape))} bytes; at most {_MOST_BYTES} are read")
    return _Head(shape, size)


def _read(path: Path, head: _Head) -> npt.NDArray[np.uint8]:
    """The data of an IDX file, as far as they can be read."""
    left = int(np.prod(head.shape))
    parts = bytearray()
    with reading_source(path), _opened(path) as file:
        file.read(head.start)
        try:
            while left and (part := file.read1(min(left, _CHUNK))):
                parts += part
                left -= len(part)
        except (EOFError, gzip.BadGzipFile, zlib.error):
            pass  # who calls counts what there is, and says so
    return np.frombuffer(parts, np.uint8)


def _labels(images: Path, count: int) -> tuple[npt.NDArray[np.uint8] | None, str, str | None]:
    """(the class number of each image, the file that says so, what is wrong with it)"""
    match = _IMAGES.fullmatch(images.name)
    assert match is not None
    plain = f"{match[1]}labels{match[2]}idx1{match[3]}ubyte"
    path = next((p for p in (images.with_name(plain), images.with_name(f"{plain}.gz")) if p.is_file()), None)
    if path is None:
        return None, "", f"{images}: has no file of labels beside it ({plain}, or with .gz)"
    try:
        with reading_source(path), _opened(path) as file:
            head = _head(path, file, 1)
        labels = _read(path, head)
    except UserError as error:
        return None, "", str(error)
    if len(labels) < head.shape[0]:
        return None, "", f"{path}: ends after {len(labels)} of {head.shape[0]} labels"
    if len(labels) != count:
        return None, "", f"{path}: has {len(labels)} labels for {count} images"
    return labels, path.name, None


def _files(folder: Path) -> list[Path]:
    """The files of images in a folder or in its folder raw, as torchvision leaves them; one a set."""
    for place in (folder, folder / "raw"):
        if place.is_dir():
            found = {path.name.removesuffix(".gz"): path for path in sorted(place.iterdir(), reverse=True)}
            files = [path for path in found.values() if path.is_file() and _IMAGES.fullmatch(path.name)]
            if files:
                return sorted(files)
    return []


def _fits(source: str) -> bool:
    path = Path(source)
    if path.is_dir():
        with reading_source(path):
            return bool(_files(path))
    return path.is_file() and _IMAGES.fullmatch(path.name) is not None


def _open(source: str, wanted: Wanted) -> IdxSource:
    path, others = Path(source), Others()
    if path.is_dir():
        files = _files(path)
        training = [file for file in files if "train" in file.name]
        chosen = training or files
        if len(chosen) > 1:
            names = ", ".join(file.name for file in chosen)
            raise UserError(f"{path}: holds several sets; give one of these files as SOURCE: {names}")
        for file in files:
            if file != chosen[0]:
                others.add(file.name)
        path = chosen[0]
    return IdxSource(path, Path(source).resolve().name, others)


KIND = SourceKind("IDX files", _fits, _open)
