"""Chooses the checkpoint from which a run continues: the newest that is complete on every rank."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipeline.contracts import Process
from pipeline.engines.heartbeat import host
from pipeline.engines.process import from_all, from_first
from pipeline.errors import Damaged, RunFailed
from pipeline.storage.checkpoints import Checkpoint, CheckpointStore
from pipeline.storage.manifest import MANIFEST, digest_file


def agreed_checkpoint(
    store: CheckpointStore, process: Process, report: Callable[[str], None]
) -> Checkpoint | None:
    """Returns the newest checkpoint that verifies on every rank and is the same on all of them, or None.

    Hosts may see a shared folder differently for a while, so each rank compares every file with its digest,
    and the manifest with the first rank's. On the first rank, `report` is called with a line for each
    checkpoint that is passed over. Raises RunFailed on all ranks if the first rank sees complete checkpoints
    but none of them is complete on every rank.
    """
    first_saw_one = False
    for folder in from_first(store.folders(), process):
        checkpoint, why = _look(store, folder)
        mine = "" if checkpoint is None else digest_file(folder / MANIFEST)
        if mine != from_first(mine, process) and not why:
            why = f"{folder / MANIFEST}: another than the first process sees"
        whys = from_all(why, process)
        if checkpoint is not None and not any(whys):
            return checkpoint
        first_saw_one = first_saw_one or not whys[0]
        if process.is_first:
            report(f"checkpoint passed over: {next(why for why in whys if why)}")
    if first_saw_one:
        raise RunFailed(
            "checkpoints are whole on the first process's host and on another they are not; "
            "allowed: a --run folder that all hosts share, or wait until they see the same"
        )
    return None


def _look(store: CheckpointStore, folder: Path) -> tuple[Checkpoint | None, str]:
    """Returns the checkpoint that this rank sees in `folder`, or the reason why it is not complete."""
    try:
        return store.verified(folder), ""
    except Damaged as damage:
        return None, str(damage)
    except (OSError, RunFailed) as error:
        return None, f"{folder} on {host()}: {error}"
