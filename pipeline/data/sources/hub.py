"""Data sets on Hugging Face's hub: hf://OWNER/NAME[@REVISION][/PATH][:SPLIT]."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from pipeline.data.sources import folder
from pipeline.data.sources.arrow import arrow_source
from pipeline.data.sources.lmdb import LmdbSource
from pipeline.data.sources.parquet import parquet_source
from pipeline.data.sources.repository import Repository
from pipeline.data.sources.sorting import LABEL_FILE
from pipeline.data.sources.source import Source, SourceKind, Wanted
from pipeline.data.sources.splits import one_split
from pipeline.data.sources.tar import TarSource
from pipeline.data.sources.video import VideoSource
from pipeline.data.sources.zip import ZipSource
from pipeline.errors import UserError
from pipeline.images.kinds import ARROW, LMDB, PARQUET, SET_FORMS, SUFFIXES, VIDEO, Form, Others, suffix_of

_SCHEME = "hf://"
_ADDRESS = re.compile(
    r"hf://(?:datasets/)?(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>refs/(?:convert|pr)/[\w.-]+|[^/:@]+))?"
    r"(?:/(?P<path>[^:]*))?(?::(?P<split>[\w.-]+))?"
)
_LABEL_FILES = (LABEL_FILE, "metadata.csv", "metadata.jsonl")
_SHOWN = 4


@dataclass(frozen=True)
class _Address:
    """What follows hf://. whole: what the user gave, without the split."""

    whole: str
    repository: str
    revision: str | None
    path: str
    split: str | None


def _open(source: str, wanted: Wanted) -> Source:
    address = _parsed(source)
    repository = Repository(address.whole, address.repository, address.revision)
    top, names = _below(repository.files, address)
    form, names = _usable(names, address)
    if form is PARQUET or names[0].endswith(".tar"):
        names = one_split(names, address.split, address.whole)
    elif address.split is not None and form is not ARROW:
        raise UserError(f"{source}: has no splits; allowed: {address.whole}")
    root = repository.fetched([f"{top}/{name}" if top else name for name in names]) / top
    pictures = _read(form, root, names, address, wanted)
    place = "/".join(filter(None, (f"{address.repository}@{repository.commit[:12]}", address.path)))
    pictures.title = f"{_SCHEME}{place}{f':{address.split}' if address.split else ''}"
    return pictures


def _parsed(source: str) -> _Address:
    match = _ADDRESS.fullmatch(source)
    if match is None:
        raise UserError(f"{source}: must be hf://OWNER/NAME[@REVISION][/PATH][:SPLIT]")
    whole = source.removesuffix(f":{match['split']}").rstrip("/")
    return _Address(
        whole, match["repository"], match["revision"], (match["path"] or "").strip("/"), match["split"]
    )


def _below(files: Iterable[str], address: _Address) -> tuple[str, list[str]]:
    """(a folder of the data set, the files in it that the address means)"""
    if address.path in files:
        top, _, name = address.path.rpartition("/")
        return top, [name]
    start = f"{address.path}/" if address.path else ""
    names = sorted(name.removeprefix(start) for name in files if name.startswith(start))
    if not names:
        raise UserError(f"{address.whole}: no such file or folder in the data set")
    return address.path, [name for name in names if not any(part.startswith(".") for part in name.split("/"))]


def _usable(names: Sequence[str], address: _Address) -> tuple[Form | None, list[str]]:
    """(the form in which the files hold pictures, those files); None for archives and for pictures, which
    come last here, because a card may show some."""
    for form in SET_FORMS:
        chosen = [name for name in names if form.is_of(name)]
        if chosen:
            beside = [name for name in names if form is ARROW and name.endswith(".json")]
            return form, [*chosen, *beside]
    tars = [name for name in names if name.endswith(".tar")]
    if tars:
        return None, tars
    pictures = [name for name in names if suffix_of(name) in SUFFIXES]
    if pictures:
        return None, [*pictures, *(name for name in names if name.rpartition("/")[2] in _LABEL_FILES)]
    return None, [_only([name for name in names if name.endswith(".zip")] or _none(names, address), address)]


def _only(names: Sequence[str], address: _Address) -> str:
    if len(names) > 1:
        raise UserError(
            f"{address.whole}: has several ({', '.join(names[:_SHOWN])}); give one of them: "
            f"{address.whole}/{names[0]}"
        )
    return names[0]


def _none(names: Iterable[str], address: _Address) -> NoReturn:
    others = Others()
    for name in names:
        others.add(name)
    raise UserError(f"{address.whole}: holds no images but {others.words()}")


def _read(form: Form | None, root: Path, names: Sequence[str], address: _Address, wanted: Wanted) -> Source:
    if form is PARQUET:
        return parquet_source(root, names, wanted, "", address.whole)
    if form is ARROW:
        files = [name for name in names if form.is_of(name)]
        return arrow_source(root, files, address.split, wanted, address.whole)
    if form is VIDEO:
        return VideoSource(root, names, wanted.every, address.whole)
    if form is LMDB:
        file = _only([name for name in names if not name.endswith("lock.mdb")], address)
        return LmdbSource(root / file, wanted.side, wanted.reading)
    if names[0].endswith(".zip"):
        return ZipSource(root / names[0], wanted.reading)
    if names[0].endswith(".tar"):
        places = {f"{name}/" if len(names) > 1 else "": root / name for name in names}
        return TarSource(places, address.whole, wanted)
    # The cache has the files themselves elsewhere, and links to them here.
    return folder.KIND.open(str(root), replace(wanted, follow_links=True))


KIND = SourceKind("hf://OWNER/NAME", lambda source: source.startswith(_SCHEME), _open)
