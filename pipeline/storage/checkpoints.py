"""Checkpoints: everything a run needs to continue bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from pipeline.storage.atomic import publish_folder, remove_folder
from pipeline.storage.manifest import (
    MANIFEST,
    Damaged,
    Manifest,
    code_version,
    digest_folder,
    read_manifest,
    verify,
)
from pipeline.storage.tensors import load_tensors, save_tensors

Groups = Mapping[str, Mapping[str, Tensor]]


def numbered(parent: Path, images_seen: int) -> Path:
    """The folder for a position; zero-padded, so that names sort by it."""
    return parent / f"{images_seen:012d}"


def numbered_folders(parent: Path) -> list[Path]:
    """All position folders in `parent`, oldest first."""
    if not parent.is_dir():
        return []
    return sorted(path for path in parent.iterdir() if path.name.isdigit() and path.is_dir())


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint on disk."""

    folder: Path
    manifest: Manifest

    def load(self) -> dict[str, dict[str, Tensor]]:
        """Its groups of named tensors, on the CPU."""
        return {
            name.removesuffix(".safetensors"): load_tensors(self.folder / name)
            for name in self.manifest.files
        }


class CheckpointStore:
    """The checkpoints of one run folder, the newest `keep` of which are kept."""

    def __init__(self, run: Path, keep: int) -> None:
        self._parent = run / "checkpoints"
        self._keep = keep

    def save(
        self, groups: Groups, *, images_seen: int, step: int, world_size: int, config_digest: str
    ) -> Path:
        """Publishes one file a group and the manifest, then drops the oldest beyond `keep`."""
        folder = numbered(self._parent, images_seen)
        if not self._is_whole(folder):
            with publish_folder(folder) as aside:
                for name, tensors in groups.items():
                    save_tensors(aside / f"{name}.safetensors", tensors)
                manifest = Manifest(
                    "checkpoint",
                    images_seen,
                    step,
                    world_size,
                    config_digest,
                    code_version(),
                    digest_folder(aside),
                )
                (aside / MANIFEST).write_bytes(manifest.to_bytes())
        self._prune(images_seen)
        return folder

    def newest(self, report: Callable[[str], None]) -> Checkpoint | None:
        """The newest checkpoint that verifies; each damaged one is named to `report` and passed over."""
        for folder in reversed(numbered_folders(self._parent)):
            try:
                return Checkpoint(folder, verify(folder))
            except Damaged as damage:
                report(f"checkpoint passed over: {damage}")
        return None

    @staticmethod
    def open(folder: Path) -> Checkpoint:
        """A checkpoint that another process has verified."""
        return Checkpoint(folder, read_manifest(folder))

    @staticmethod
    def _is_whole(folder: Path) -> bool:
        if not folder.exists():
            return False
        try:
            verify(folder)
        except Damaged:
            return False
        return True

    def _prune(self, newest: int) -> None:
        older = [path for path in numbered_folders(self._parent) if int(path.name) <= newest]
        for folder in older[: -self._keep]:
            remove_folder(folder)
