"""Where a run comes from: the runs whose checkpoints it and they went on from (`start.keep=all`).

Every checkpoint and snapshot of such a run states it in its manifest, so that it lies where the weights lie
and asks for no other folder.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import Damaged, UserError
from pipeline.reading import checked
from pipeline.storage.manifest import MANIFEST, Manifest, read_manifest
from pipeline.storage.positions import numbered_folders

LINEAGE = "lineage"
"""Its key among a manifest's details."""


@dataclass(frozen=True)
class Origin:
    """One run that another has gone on from.

    run: its folder, as it was called then. checkpoint: the sha256 of the manifest of the checkpoint that was
    taken. images_seen: its position. changed: each setting that differs from there on, as
    "batch.size: 32 -> 64"; none if the run went on as it was.
    """

    run: str
    checkpoint: str
    images_seen: int
    changed: tuple[str, ...] = ()

    @property
    def alters(self) -> bool:
        """Whether training differs from there on, which its length alone does not make it do."""
        return any(not line.startswith("length.") for line in self.changed)

    def __str__(self) -> str:
        changed = "; ".join(self.changed) or "nothing else"
        return f"until {self.images_seen:,} images it was {self.run}; from there on {changed}"


Lineage = tuple[Origin, ...]
"""Oldest first; empty for a run that began at 0 images."""


def lineage_details(lineage: Lineage) -> dict[str, Any]:
    """What a manifest's details hold of it: nothing if there is none."""
    origins = [{**asdict(origin), "changed": list(origin.changed)} for origin in lineage]
    return {LINEAGE: origins} if origins else {}


def lineage_of(manifest: Manifest, folder: Path) -> Lineage:
    """The lineage that the manifest of `folder` states. Damaged if it is none."""
    return checked(Lineage, manifest.details.get(LINEAGE, ()), f"{folder / MANIFEST}: details: {LINEAGE}")


def run_lineage(run: Path) -> Lineage:
    """The lineage of a run, from its newest checkpoint whose manifest can be read; empty if there is none."""
    for folder in reversed(numbered_folders(run / "checkpoints")):
        try:
            return lineage_of(read_manifest(folder), folder)
        except (Damaged, UserError):  # whoever takes the checkpoint names it
            continue
    return ()
