"""Kinds of files: pictures, told by their first bytes, and other forms in which data sets come.

Help, errors and the reading of pictures are made from the two tables here.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

START_BYTES = 64
"""As many first bytes of a file as tell its kind."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of picture. name: the one that PIL has for it. start: a pattern of the first bytes of such
    files. feature: the part of PIL that reads them, if PIL may be built without it."""

    name: str
    suffixes: tuple[str, ...]
    start: bytes
    feature: str | None = None

    def begins(self, data: bytes) -> bool:
        """Whether a file with these first bytes is of this kind."""
        return re.match(self.start, data[:START_BYTES], re.DOTALL) is not None


# Brands of the ISO base media format, ISO/IEC 14496-12 section 4.3; of HEIF, ISO/IEC 23008-12 annex B.
PNG = Kind("PNG", (".png", ".apng"), rb"\x89PNG\r\n\x1a\n")
JPEG = Kind("JPEG", (".jpg", ".jpeg", ".jpe", ".jfif"), rb"\xff\xd8\xff")
WEBP = Kind("WEBP", (".webp",), rb"RIFF.{4}WEBP", "webp")
TGA = Kind("TGA", (".tga",), rb"(?!)")  # has no first bytes of its own
KINDS = (
    PNG,
    JPEG,
    WEBP,
    Kind("BMP", (".bmp", ".dib"), rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"),
    Kind("GIF", (".gif",), rb"GIF8[79]a"),
    Kind("TIFF", (".tif", ".tiff"), rb"II[*+]\0|MM\0[*+]"),
    Kind("PPM", (".ppm", ".pgm", ".pbm", ".pnm"), rb"P[1-6]\s"),
    Kind("AVIF", (".avif", ".avifs"), rb".{4}ftyp(.{4}){0,10}?avi[fs]", "avif"),
    Kind("HEIF", (".heic", ".heif", ".hif"), rb".{4}ftyp(hei[cmsx]|hev[cmsx]|mif1|msf1)"),
    Kind(
        "JPEG2000",
        (".jp2", ".j2k", ".j2c", ".jpx", ".jpf"),
        rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51",
        "jpg_2000",
    ),
    TGA,
)
SUFFIXES = frozenset(suffix for kind in KINDS for suffix in kind.suffixes)
_WORDS = frozenset(
    (".txt", ".json", ".jsonl", ".csv", ".tsv", ".xml", ".html", ".md", ".yaml", ".yml", ".log")
)


@dataclass(frozen=True, slots=True)
class Form:
    """A form of file or data set that is no picture. names: a pattern of file names in lower case. advice:
    what to do about it. archive: it is refused inside a source only, and may be a source itself."""

    name: str
    names: str
    advice: str
    start: bytes = rb"(?!)"
    archive: bool = False

    def is_of(self, name: str, start: bytes = b"") -> bool:
        """Whether a file with this name, or these first bytes, is of this form."""
        file = name.rpartition("/")[2].lower()
        return bool(re.search(self.names, file) or re.match(self.start, start, re.DOTALL))


_WRITE = "write each picture into a file of its own first"
_ALONE = "give it, or a folder that has no pictures beside it, as SOURCE"
PARQUET = Form("Parquet", r"\.parquet$", _ALONE, b"PAR1", archive=True)
ARROW = Form(
    "Arrow, as Hugging Face's datasets has it",
    r"\.(arrow|feather)$",
    _ALONE,
    b"ARROW1",
    archive=True,
)
LMDB = Form("an LMDB database", r"\.(lmdb|mdb)$", _ALONE, rb".{16}\xde\xc0\xef\xbe", archive=True)
VIDEO = Form(
    "video",
    r"\.(mp4|m4v|mov|3gp|avi|mkv|webm|mpe?g|m2ts|mts|flv|wmv|ogv)$",
    _ALONE,
    rb".{4}ftyp(isom|iso\d|mp4\d|M4V|qt  |avc1)|\x1aE\xdf\xa3|RIFF.{4}AVI ",
    archive=True,
)
SET_FORMS = (PARQUET, ARROW, LMDB, VIDEO)
"""Forms of data sets that are sources, a file or a folder of them, if there are no pictures beside them."""
FORMS = (
    *SET_FORMS,
    Form(
        "tars, as WebDataset has them",
        r"\.tar$",
        "give the folder that they lie in as SOURCE, or a pattern such as 'SHARDS/{000..127}.tar'",
        archive=True,
    ),
    Form("TFRecord", r"\.tfrecords?\b|-\d{5}-of-\d{5}$", f"{_WRITE} (with tensorflow_datasets)"),
    Form("HDF5", r"\.(h5|hdf5)$", f"{_WRITE} (with h5py)", rb"\x89HDF\r\n"),
    Form("NumPy arrays", r"\.np[yz]$", f"{_WRITE} (with numpy and Pillow)", rb"\x93NUMPY"),
    Form(
        "pickles, as CIFAR has them",
        r"\.(pkl|pickle)$|^(data_batch_\d|test_batch|batches\.meta)$",
        "pickles can run code and are never read here; CIFAR's binary version is (cifar-10-binary.tar.gz and "
        f"cifar-100-binary.tar.gz, from www.cs.toronto.edu/~kriz/cifar.html), or {_WRITE}",
        rb"\x80[\2-\5][}\x95]",
    ),
    Form(
        "archives",
        r"\.(zip|7z|rar|gz|tgz|bz2|xz|zst)$",
        "unpack them into one folder first",
        rb"\x1f\x8b|PK\x03\x04|7z\xbc",
        archive=True,
    ),
    Form("DICOM", r"\.(dcm|dicom)$", "convert it to PNG with 16 bits first; --range maps its values"),
    Form("NIfTI or MATLAB volumes", r"\.(nii|nii\.gz|mat)$", "write their slices as PNG with 16 bits first"),
    Form("camera raw", r"\.(dng|cr2|cr3|nef|arw|raf|orf|rw2)$", "develop it to PNG or JPEG first"),
    Form(
        "pictures of a kind that is not read",
        r"\.(jxl|exr|hdr|psd|svg|ico|dds|jxr|eps|pdf)$",
        "convert them to PNG first",
        rb"\xff\x0a|\0\0\0\x0cJXL |v/1\x01|8BPS",
    ),
)


def kind_of(data: bytes) -> Kind | None:
    """The kind of picture that a whole file is; its name does not count."""
    for kind in KINDS:
        if kind.begins(data):
            return kind
    return TGA if _is_tga(data) else None


def is_picture(name: str, start: bytes) -> bool:
    """Whether a file is taken for a picture: by its suffix, else by its first bytes."""
    return suffix_of(name) in SUFFIXES or any(kind.begins(start) for kind in KINDS)


def may_hide_picture(name: str) -> bool:
    """Whether the first bytes of a file must be looked at: its name says neither picture nor text."""
    return suffix_of(name) not in SUFFIXES | _WORDS


def form_of(name: str, start: bytes = b"") -> Form | None:
    """The form of a file that is no picture, by its name, else by its first bytes."""
    by_name = next((form for form in FORMS if form.is_of(name)), None)
    return by_name or next((form for form in FORMS if form.is_of("", start)), None)


def suffix_of(name: str) -> str:
    """A file's suffix in lower case, with its dot; "" if it has none."""
    return os.path.splitext(name)[1].lower()


class Others:
    """The files of a source that are no pictures, counted by suffix."""

    _MOST_SUFFIXES = 1000
    _MOST_NAMED = 100_000
    _SHOWN = 6

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}
        self._forms: dict[str, Form] = {}
        self._named: list[tuple[str, str]] = []

    def add(self, name: str, start: bytes = b"") -> None:
        """Counts a file. name: its path. start: its first bytes, if they were looked at."""
        suffix = suffix_of(name)
        if suffix not in self._counts and len(self._counts) >= self._MOST_SUFFIXES:
            suffix = ""
        self._counts[suffix] += 1
        self._first[suffix] = min(self._first.get(suffix, name), name)
        form = form_of(name, start)
        if form is not None:
            self._forms[form.name] = form
        if len(self._named) < self._MOST_NAMED:
            self._named.append((name, "is no picture" if form is None else f"is of the kind: {form.name}"))

    def __len__(self) -> int:
        return self._counts.total()

    def as_json(self) -> dict[str, Any]:
        """All that is known of the files, for `from_json`."""
        forms = list(self._forms)
        return {"counts": self._counts, "first": self._first, "forms": forms, "named": self._named}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Others:
        """What another process has counted."""
        others = cls()
        others._counts.update(content["counts"])
        others._first.update(content["first"])
        others._forms.update({form.name: form for form in FORMS if form.name in content["forms"]})
        others._named += [(name, kind) for name, kind in content["named"]]
        return others

    @property
    def named(self) -> list[tuple[str, str]]:
        """Name and kind of each, in order; of more than a hundred thousand those that were found first."""
        return sorted(self._named)

    @property
    def suffixes(self) -> int:
        """How many suffixes these files have."""
        return len(self._counts)

    @property
    def form(self) -> Form | None:
        """The form of data set that these files look like."""
        return next((form for form in FORMS if form.name in self._forms), None)

    def words(self) -> str:
        """A text such as "12 .txt (a/0.txt), 1 without suffix (README)", the most frequent suffix first."""
        ranked = sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))
        parts = [
            f"{count} {suffix or 'without suffix'} ({self._first[suffix]})"
            for suffix, count in ranked[: self._SHOWN]
        ]
        rest = sum(count for _, count in ranked[self._SHOWN :])
        return ", ".join([*parts, *([f"{rest} more"] if rest else [])])


def _is_tga(data: bytes) -> bool:
    """Truevision TGA, version 2.0 by its footer, 1.0 by a header whose every field is allowed."""
    if len(data) < 18:
        return False
    width, height = int.from_bytes(data[12:14], "little"), int.from_bytes(data[14:16], "little")
    fields = data[1] in (0, 1) and data[2] in (1, 2, 3, 9, 10, 11) and data[16] in (8, 16, 24, 32)
    return data[-18:-2] == b"TRUEVISION-XFILE" or (fields and width > 0 and height > 0)
