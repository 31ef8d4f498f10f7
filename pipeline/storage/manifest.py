"""The last file of every checkpoint and snapshot: what belongs to it, with size and digest."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import Damaged
from pipeline.reading import checked, read_json
from pipeline.storage.faults import machine_explained
from pipeline.versions import Stored

MANIFEST = "manifest.json"
FORMAT = Stored(version=1)


@dataclass(frozen=True)
class FileEntry:
    """A file of a checkpoint or snapshot. size: in bytes. sha256: in hex."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint or snapshot is: its position, its origin, and every file that belongs to it.

    The position is None for imported weights, whose file does not tell it.
    """

    kind: Literal["checkpoint", "snapshot"]
    images_seen: int | None
    step: int | None
    world_size: int | None
    config_digest: str | None
    code: Mapping[str, str]
    files: Mapping[str, FileEntry]
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        body = FORMAT.stamped(asdict(self))
        return (json.dumps(body, indent=1, sort_keys=True) + "\n").encode()


def code_version() -> dict[str, str]:
    """The versions of the programs that wrote a file, for people who compare runs."""
    import torch  # takes seconds, and who only reads needs none of it

    try:
        ours = version("hrgan")
    except PackageNotFoundError:
        ours = "unknown"
    return {"hrgan": ours, "torch": torch.__version__}


def digest_file(path: Path) -> str:
    """sha256 of a file, in hex."""
    with machine_explained(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_folder(folder: Path) -> dict[str, FileEntry]:
    """An entry for every file in `folder` (not its sub-folders) but the manifest."""
    paths = sorted(path for path in folder.iterdir() if path.is_file() and path.name != MANIFEST)
    with ThreadPoolExecutor(4) as pool:
        digests = list(pool.map(digest_file, paths))
    return {
        path.name: FileEntry(path.stat().st_size, digest) for path, digest in zip(paths, digests, strict=True)
    }


def read_manifest(folder: Path) -> Manifest:
    """The manifest of `folder`. Raises Damaged if missing, unreadable or of an unknown format; UserError if
    a newer version wrote it, so that what is whole is not passed over."""
    path = folder / MANIFEST
    try:
        body = read_json(path)
    except FileNotFoundError as error:
        raise Damaged(f"{path}: {error.strerror}") from error
    return checked(Manifest, FORMAT.current(body, str(path)), str(path))


def verify(folder: Path, names: Collection[str] | None = None) -> Manifest:
    """Reads the manifest and checks that every file is there with its size and sha256; else Damaged.

    names: the files to check, of those that there are; None for all.
    """
    manifest = read_manifest(folder)
    for name, entry in manifest.files.items():
        if names is not None and name not in names:
            continue
        path = folder / name
        # A manifest comes from outside: its names must not lead out of the folder.
        if Path(name).name != name:
            raise Damaged(f"{folder / MANIFEST}: file name '{name}' leads out of the folder")
        if not os.path.isfile(path):  # of a name that no file can have, too
            raise Damaged(f"{path}: missing")
        if path.stat().st_size != entry.size:
            raise Damaged(f"{path}: {path.stat().st_size} bytes, its manifest says {entry.size}")
        if digest_file(path) != entry.sha256:
            raise Damaged(f"{path}: its content does not match the sha256 of its manifest")
    return manifest
