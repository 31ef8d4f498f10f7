"""Commands other than training that several processes run together: a group whose processes watch each other,
and which ends in time and names a lost process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from launch.cluster.srun import join_srun
from pipeline.contracts import Process
from pipeline.engines.contact import contact
from pipeline.engines.heartbeat import Heartbeat, RankProgress
from pipeline.engines.peers import ProcessPeers
from pipeline.engines.process import joined
from pipeline.errors import UserError
from pipeline.storage.atomic import aside_of

# The group's own time-out is later than the heartbeat's, which can name the lost process.
_GRACE_MINUTES = 2
_FIRST_SPEAKS_SECONDS = 3.0


@dataclass(frozen=True)
class Group:
    """How the processes of a command watch each other.

    beside: the folder in which the folder of heartbeats is made. go_on: what the user can do after a process
    is lost. silence_seconds, patience_minutes: see `Heartbeat`.
    """

    beside: Path
    go_on: str
    silence_seconds: float = 60.0
    patience_minutes: float = 120.0


def run_as_group(
    group: Group,
    device: Literal["auto", "cpu", "cuda"],
    work: Callable[[Process, ProcessPeers], None],
) -> int:
    """Runs `work` as one process of the group that the environment describes, or as the only one. Returns the
    exit code."""
    join_srun()
    with joined(device, group.patience_minutes + _GRACE_MINUTES, share_gpus=True) as process:
        peers = ProcessPeers(process)
        try:
            with _watched(group, process, peers):
                work(process, peers)
        except UserError:
            if not process.is_first:
                # A user's error nearly always occurs on all ranks: the first reports it and ends the others.
                time.sleep(_FIRST_SPEAKS_SECONDS)
            raise
    return 0


@contextmanager
def _watched(group: Group, process: Process, peers: ProcessPeers) -> Iterator[None]:
    folder = peers.from_first(aside_of(group.beside / "heartbeats"))
    heartbeat = Heartbeat(
        folder,
        process,
        lambda: RankProgress(0, 0, peers.collectives),
        silence=group.silence_seconds,
        patience=60 * group.patience_minutes,
        outlook=lambda *_: group.go_on,
    )
    with (
        heartbeat.running(),
        contact(process, lambda said: f"{heartbeat.name_the_lost()} ({said}); {group.go_on}"),
    ):
        yield
