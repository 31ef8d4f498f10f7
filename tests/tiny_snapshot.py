"""A snapshot of a tiny family's seeded generator."""

from __future__ import annotations

from pathlib import Path

from pipeline.contracts import Family
from pipeline.storage.snapshots import Snapshot, open_snapshot, write_snapshot
from tests.tiny_families import seeded_networks


def snapshot_of(family: Family, run: Path) -> Snapshot:
    """Written into the run as after a step of 8 images."""
    folder = write_snapshot(
        run,
        seeded_networks(family).generator.state_dict(),
        family=family.config,  # type: ignore[attr-defined]
        spec=family.spec,
        classes=(),
        stage=family.schedule.at(8),
        images_seen=8,
        step=1,
        world_size=1,
        config_digest="0" * 16,
        data={},
    )
    return open_snapshot(folder)
