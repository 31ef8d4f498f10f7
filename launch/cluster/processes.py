"""Several processes of one command on this machine: start them, pass signals on, end together."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType

from launch.cluster.record import EXIT_REQUEUE
from pipeline.engines.signals import STOPS, handling
from pipeline.words import note

_WELL = (0, EXIT_REQUEUE)  # each of the ranks ends so by itself, when it has saved
_PR_SET_PDEATHSIG = 1
_POLL_SECONDS = 0.1


def is_one_of_many() -> bool:
    """True in a process that a launcher (this one, torchrun, srun) started as one rank of a group."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


GO_ON = "the same command goes on from where it stood"


def run_ranks(
    arguments: Sequence[str],
    count: int,
    *,
    spare: bool = False,
    go_on: str = GO_ON,
    record: Callable[[str], None] = lambda line: None,
) -> int:
    """Runs `hrgan ARGUMENTS` as `count` ranks on this machine and gives the exit code.

    SIGTERM, SIGINT, SIGUSR1 and SIGUSR2 go to every rank. If one rank fails, the others are killed: they
    would wait for it in a collective, and what is on disk is whole at any moment.
    spare: the others take over the work of one that is killed, and go on while there is one.
    go_on: what to do if one is killed, for people. record: gets the line that says so.
    """
    # Free now; should another program take it before rank 0 does, `Meeting` says so.
    port = free_port()
    ranks = [_start(arguments, rank, count, port) for rank in range(count)]

    def forward(number: int, _frame: FrameType | None) -> None:
        for rank in ranks:
            if rank.poll() is None:  # the number of one that has ended may be another program's by now
                rank.send_signal(number)

    with handling(STOPS, forward):
        return _wait(ranks, spare, go_on, record)


def _wait(
    ranks: list[subprocess.Popen[bytes]], spare: bool, go_on: str, record: Callable[[str], None]
) -> int:
    lost: set[int] = set()
    while True:
        codes = [rank.poll() for rank in ranks]
        left = {number: code for number, code in enumerate(codes) if number not in lost}
        failed = [(number, code) for number, code in left.items() if code not in (None, *_WELL)]
        if spare and failed and failed[0][1] == -signal.SIGKILL and len(lost) + 1 < len(ranks):
            lost.add(failed[0][0])
            note(f"warning: rank {failed[0][0]} was killed; the others take over its work")
        elif failed:
            # Killed, not asked: they wait in an exchange, where no signal handler of Python's comes to run.
            for rank in ranks:
                rank.kill()
            for rank in ranks:
                rank.wait()
            return _explain(*failed[0], go_on, record)
        elif None not in left.values():
            return max(code or 0 for code in left.values())
        time.sleep(_POLL_SECONDS)


def _explain(rank: int, code: int, go_on: str, record: Callable[[str], None]) -> int:
    if code > 0:
        return code  # it has said why itself
    name = signal.Signals(-code).name
    line = f"rank {rank} was ended by {name}; {go_on}"
    record(line)
    note(f"error: {line}")
    return 1


def _start(arguments: Sequence[str], rank: int, count: int, port: int) -> subprocess.Popen[bytes]:
    threads = max((os.cpu_count() or 1) // count, 1)
    environment = {"OMP_NUM_THREADS": str(threads), **os.environ, **rank_variables(rank, count, port)}
    # A group of its own: a Ctrl-C at the terminal reaches the ranks once, through us.
    return subprocess.Popen(
        [sys.executable, "-m", "launch.main", *arguments],
        env=environment,
        start_new_session=True,
        preexec_fn=end_with_parent,
    )


def rank_variables(rank: int, count: int, port: int) -> dict[str, str]:
    """What tells a process that it is that one of `count` ranks on this machine, which meet at `port`."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def free_port() -> int:
    """A port of this machine that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def end_with_parent() -> None:
    """For the child of a fork: SIGTERM when the parent is gone, even if that was killed outright."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
