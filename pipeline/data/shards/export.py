"""Shards as plain files: a folder or a zip that people and other programs open."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.local import read_beside
from pipeline.data.shards.reader import read_samples
from pipeline.data.shards.samples import no_damage
from pipeline.errors import UserError
from pipeline.storage.atomic import publish_file, publish_folder

LABELS, METADATA = "dataset.json", "metadata.jsonl"
_BESIDE = ("README.md", "card.json", "contact.jpg", "neighbours.json", "neighbours.jpg")
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can say: equal images, equal bytes

Put = Callable[[str, bytes], None]


def export(index: ShardIndex, out: Path, report: Callable[[], object] = lambda: None) -> int:
    """Publishes every image of `index` as a file of its own, in the zip `out` if its name ends in .zip, else
    in the folder `out`; returns how many.

    CLASS/KEY.png (or jpg, webp) with its fields beside it (KEY.mask.png), `dataset.json` with [name, class
    number] of each, `metadata.jsonl` with what the shards say of each, and the data card if there is one.
    Names are made of letters, digits, - and _ whatever classes are called. Both appear whole or not at all.
    report: called at every image.
    Errors: UserError if `out` exists, or for a damaged sample.
    """
    if out.exists():
        raise UserError(f"{out}: exists; allowed: a new folder or a new .zip")
    with _zip(out) if out.suffix.lower() == ".zip" else _folder(out) as put:
        return _put_all(index, put, report)


def class_folders(names: tuple[str, ...]) -> list[str]:
    """A name for the folder of each class, which is distinct and safe on every system: the class's number and
    as much of its name as can be kept."""
    width = len(str(max(len(names) - 1, 0)))
    plain = [re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_")[:60] for name in names]
    return [f"{number:0{width}d}{f'-{name}' if name else ''}" for number, name in enumerate(plain)]


def _put_all(index: ShardIndex, put: Put, report: Callable[[], object]) -> int:
    folders, labels, metas = class_folders(index.classes), [], []
    for sample in read_samples(index):
        if not re.fullmatch(r"[A-Za-z0-9_-]+", sample.key):
            raise UserError(f"{index.root}: key {sample.key!r}: cannot be a file's name")
        name = f"{sample.key}.{sample.extension}"
        if sample.label is not None:
            name = f"{folders[sample.label]}/{name}"
            labels.append([name, sample.label])
        members = {field: f"{_stem(name)}.{member}" for field, (member, _) in sample.fields.items()}
        about = {"file_name": name, **sample.meta, **({"fields": members} if members else {})}
        metas.append(json.dumps(about, sort_keys=True))
        put(name, sample.image)
        for field, (_, content) in sample.fields.items():
            put(members[field], content)
        report()
    put(LABELS, json.dumps({"labels": labels or None, "classes": list(index.classes)}).encode())
    put(METADATA, ("\n".join(metas) + "\n").encode())
    for beside in _BESIDE:
        with suppress(FileNotFoundError), no_damage("remove it or restore it"):
            put(beside, read_beside(index, beside))
    return len(metas)


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


@contextmanager
def _folder(out: Path) -> Iterator[Put]:
    with publish_folder(out) as aside:

        def put(name: str, data: bytes) -> None:
            path = aside / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)

        yield put


@contextmanager
def _zip(out: Path) -> Iterator[Put]:
    # Images are compressed already.
    with publish_file(out) as aside, zipfile.ZipFile(aside, "w", zipfile.ZIP_STORED) as archive:

        def put(name: str, data: bytes) -> None:
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)

        yield put
