"""Checkpoints: everything that a run needs to go on bit for bit, written by all of its ranks."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor

from pipeline.errors import Damaged, RunFailed
from pipeline.reading import read_as
from pipeline.storage.atomic import (
    fsync_file,
    fsync_folder,
    make_folder,
    publish_bytes,
    remove,
    remove_folder,
    replace_folder,
)
from pipeline.storage.faults import explained
from pipeline.storage.manifest import (
    MANIFEST,
    FileEntry,
    Manifest,
    code_version,
    digest_file,
    verify,
)
from pipeline.storage.positions import Position, numbered, numbered_folders
from pipeline.storage.tensors import load_tensors, save_tensors

_SHARE = re.compile(r"weights-\d+-of-\d+\.safetensors")
_POLL_SECONDS = 0.02
Groups = Mapping[str, Mapping[str, Tensor]]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk whose files have been verified."""

    folder: Path
    manifest: Manifest

    def load(self) -> dict[str, dict[str, Tensor]]:
        """Its tensors, by group and name, on the CPU."""
        groups: dict[str, dict[str, Tensor]] = {}
        for file in self.manifest.files:
            tensors = load_tensors(self.folder / file)
            if not _SHARE.fullmatch(file):  # as written by versions that kept a file a group
                tensors = {f"{Path(file).stem}/{name}": value for name, value in tensors.items()}
            for name, value in tensors.items():
                group, _, own = name.partition("/")
                groups.setdefault(group, {})[own] = value
        return groups


class CheckpointStore:
    """The checkpoints of one run folder, the newest `keep` of which are kept.

    Each rank writes a file of its own into a folder aside; the first rank publishes it, with the manifest,
    when all of them are there. attempt: the same on all ranks and another at every start, so that what a
    killed start has left is never taken for this one's.
    """

    def __init__(self, run: Path, keep: int, attempt: str = "") -> None:
        self._parent = run / "checkpoints"
        self._keep, self._attempt = keep, attempt

    def save(
        self, groups: Groups, *, images_seen: int, step: int, world_size: int, config_digest: str
    ) -> Path:
        """Publishes a whole checkpoint that one process holds."""
        self.write_share(groups, images_seen, rank=0, ranks=1)
        self.publish(Position(images_seen, step, world_size, config_digest), ranks=1)
        return numbered(self._parent, images_seen)

    def write_share(self, groups: Groups, images_seen: int, *, rank: int, ranks: int) -> None:
        """Writes the tensors of one rank and, once they are on disk, their receipt: size and digest."""
        folder = self._aside(images_seen)
        path = folder / share_name(rank, ranks)
        flat = {
            f"{group}/{name}": value for group, tensors in groups.items() for name, value in tensors.items()
        }
        with explained(path):
            make_folder(folder)
            try:
                save_tensors(path, flat)
                fsync_file(path)
                # The receipt comes last: the first rank takes the share for whole when it sees one.
                entry = FileEntry(path.stat().st_size, digest_file(path))
                publish_bytes(_receipt(path), json.dumps(asdict(entry)).encode())
            except BaseException:
                path.unlink(missing_ok=True)  # what a full disk needs back
                raise

    def publish(self, position: Position, *, ranks: int, given_up: threading.Event | None = None) -> None:
        """Publishes a checkpoint with its manifest, once the shares of all `ranks` are on disk. Then drops
        the oldest checkpoints beyond `keep`, and what killed starts have left. Setting `given_up` ends the
        wait."""
        aside, folder = self._aside(position.images_seen), numbered(self._parent, position.images_seen)
        with explained(folder):
            files = self._gathered(aside, ranks, given_up or threading.Event())
            if files is None or self._is_whole(folder):
                remove_folder(aside)
                return
            for path in aside.iterdir():
                if (
                    path.name not in files
                ):  # receipts, and what a start killed while it wrote a share has left
                    remove(path)
            manifest = Manifest("checkpoint", **asdict(position), code=code_version(), files=files)
            # All shares are durable by now, each by its own rank. The names in the folder are so only after
            # its own fsync, and a rename before that could outlive them.
            (aside / MANIFEST).write_bytes(manifest.to_bytes())
            fsync_file(aside / MANIFEST)
            fsync_folder(aside)
            replace_folder(aside, folder)
            self.prune(position.images_seen)

    @staticmethod
    def _gathered(aside: Path, ranks: int, given_up: threading.Event) -> dict[str, FileEntry] | None:
        """The entry of every share, once this host sees all of them; None if given up."""
        missing = {share_name(rank, ranks) for rank in range(ranks)}
        files: dict[str, FileEntry] = {}
        while True:
            there = set(os.listdir(aside))
            for name in sorted(name for name in missing if _receipt(Path(name)).name in there):
                entry = _entry(_receipt(aside / name))
                # A network file system may show the receipt before the file is all there to see.
                if name in there and (aside / name).stat().st_size == entry.size:
                    files[name] = entry
                    missing.remove(name)
            if not missing:
                return dict(sorted(files.items()))
            if given_up.wait(_POLL_SECONDS):
                return None

    def folders(self) -> list[Path]:
        """The folders of all checkpoints, newest first, whether they are whole or not."""
        return numbered_folders(self._parent)[::-1]

    def newest(self, report: Callable[[str], None]) -> Checkpoint | None:
        """The newest checkpoint that verifies; each damaged one is named to `report` and passed over."""
        for folder in self.folders():
            try:
                return self.verified(folder)
            except Damaged as damage:
                report(f"checkpoint passed over: {damage}")
        return None

    @staticmethod
    def verified(folder: Path) -> Checkpoint:
        """The checkpoint in `folder`, after comparing every file with its digest; Damaged if one differs."""
        return Checkpoint(folder, verify(folder))

    @staticmethod
    def _is_whole(folder: Path) -> bool:
        if not folder.exists():
            return False
        try:
            verify(folder)
        except Damaged:
            return False
        return True

    def _aside(self, images_seen: int) -> Path:
        return self._parent / f".{images_seen:012d}.{self._attempt}.partial"

    def prune(self, newest: int) -> None:
        """Drops the oldest checkpoints beyond `keep`, of those up to `newest` images, and what killed starts
        have left."""
        older = [path for path in numbered_folders(self._parent) if int(path.name) <= newest]
        with explained(self._parent):
            for folder in (
                *older[: -self._keep],
                *self._parent.glob(".*.partial"),
                *self._parent.glob(".*.old"),
            ):
                remove_folder(folder)


def share_name(rank: int, ranks: int) -> str:
    """The name of a rank's file."""
    return f"weights-{rank:05d}-of-{ranks:05d}.safetensors"


def _receipt(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _entry(receipt: Path) -> FileEntry:
    try:
        return read_as(FileEntry, receipt)
    except Damaged as damage:
        raise RunFailed(f"{damage}; the same command goes on from the checkpoint before") from damage
