"""Tars of WebDataset shape that other programs have written: which there are, and what samples they hold."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.data.archives.patterns import is_pattern, matching_files
from pipeline.data.archives.tars import BadTar, Header, members
from pipeline.data.sources.source import is_hidden, reading_source, refuse_escape
from pipeline.errors import Damaged, UserError
from pipeline.reading import parse_json, shown

_IMAGES = frozenset(("jpg", "jpeg", "png", "webp"))
_LONGEST_NAME, _LONGEST_CLASS = 255, 100  # bytes
_MOST_JSON = 1 << 20


@dataclass(frozen=True, slots=True)
class ForeignSample:
    """An image in a shard: the name of its member, its first byte and its size, and its class as text, ""
    if there is none."""

    name: str
    offset: int
    size: int
    label: str = ""


@dataclass
class ForeignShard:
    """What a shard holds. samples: in the order of the tar. skipped: (name, reason) of each that cannot be
    used."""

    samples: list[ForeignSample] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)


def find_shards(source: str) -> list[Path]:
    """The tars that `source` means: those of a folder, in alphabetical order; one tar; or those of a pattern
    with braces, in its order. Errors: UserError unless there are some, all of them in one folder."""
    path = Path(source)
    with reading_source(path):
        if path.is_dir():
            found = sorted(p for p in path.iterdir() if p.suffix == ".tar" and not p.name.startswith("."))
            if not found:
                raise UserError(
                    f"{source}: holds no .tar; allowed: a folder of shards, or a/{{000..127}}.tar"
                )
            return found
    if not is_pattern(source) and not path.is_file():
        raise UserError(f"{source}: no such shards; allowed: a folder of .tar files, or a/{{000..127}}.tar")
    found = [path] if path.is_file() else matching_files(source)
    if len({path.parent for path in found}) > 1:
        raise UserError(f"{source}: names shards in several folders; all of them must lie in one")
    return found


def list_shard(path: Path, label_key: str | None) -> ForeignShard:
    """The samples of one tar. What comes before damage is kept, but for the sample that it cuts.

    label_key: of each sample's .json, whose value is its class; None: the class is its .cls.
    Errors: UserError for a name that leads out of the folder.
    """
    shard, parts = ForeignShard(), dict[str, list[Header]]()
    with reading_source(path), path.open("rb", buffering=0) as file:
        descriptor, key = file.fileno(), ""
        try:
            for member in members(descriptor, os.fstat(descriptor).st_size):
                refuse_escape(path, member.name)
                if member.regular and not is_hidden(member.name.removeprefix("./")):
                    key = _split(member.name)[0]
                    parts.setdefault(key, []).append(member)
        except BadTar as fault:
            shard.skipped.append((path.name, f"the archive {fault}; what comes before is taken"))
            parts.pop(key, None)  # it may have lost members
        for group in parts.values():
            _take(shard, descriptor, group, label_key)
    return shard


def _take(shard: ForeignShard, descriptor: int, group: list[Header], label_key: str | None) -> None:
    images = [member for member in group if _split(member.name)[1] in _IMAGES]
    if not images:
        return
    first = images[0]
    fault = _name_fault(first.name)
    if len(images) > 1:
        fault = f"its sample has {len(images)} images, must have one"
    if fault:
        shard.skipped.append((shown(first.name), fault))
        return
    label = _label(descriptor, group, label_key)
    shard.samples.append(ForeignSample(first.name, first.start, first.size, label))


def _name_fault(name: str) -> str:
    if not name.isprintable():  # nor is what was no UTF-8
        return "its name is not printable text"
    size = len(name.encode())
    return f"its name has {size} bytes; at most {_LONGEST_NAME} are allowed" if size > _LONGEST_NAME else ""


def _split(name: str) -> tuple[str, str]:
    """(key, extension) as webdataset has them: apart at the first dot of the file's name."""
    folder, _, file = name.removeprefix("./").rpartition("/")
    stem, _, extension = file.partition(".")
    return f"{folder}/{stem}", extension.lower()


def _label(descriptor: int, group: list[Header], label_key: str | None) -> str:
    wanted = "cls" if label_key is None else "json"
    for member in group:
        if _split(member.name)[1] == wanted and 0 < member.size <= _MOST_JSON:
            data = os.pread(descriptor, member.size, member.start)
            text = _decoded(data) if label_key is None else _value(data, label_key)
            if text.isprintable() and len(text.encode()) <= _LONGEST_CLASS:
                return text
    return ""


def _decoded(data: bytes) -> str:
    try:
        return data.decode().strip()
    except UnicodeDecodeError:
        return ""


def _value(data: bytes, key: str) -> str:
    try:
        content = parse_json(_decoded(data), key)
    except Damaged:
        return ""
    value = content.get(key) if isinstance(content, dict) else None
    return str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""


def says(label_key: str | None) -> str:
    """Where classes stand, in words."""
    return ".cls" if label_key is None else f"{label_key} in .json"
