"""Starts several ranks of a Python module on this machine, for measurements."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from launch.cluster.processes import free_port, rank_variables
from tools.torture.namespaces import TwoHosts

ROOT = Path(__file__).resolve().parents[1]


def run_module(module: str, ranks: int, arguments: Sequence[str]) -> None:
    """Runs `python -m module ARGUMENTS` as that many ranks, each with one thread. Raises RuntimeError with
    their output if one fails."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        logs = [Path(folder, str(rank)) for rank in range(ranks)]
        started = []
        for rank, log in enumerate(logs):
            command = [sys.executable, "-m", module, *arguments]
            environment = {**os.environ, **rank_variables(rank, ranks, port), "OMP_NUM_THREADS": "1"}
            with log.open("wb") as file:
                started.append(
                    subprocess.Popen(
                        command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT
                    )
                )
        codes = _wait(started)
        if any(codes):
            texts = [f"--- rank {rank}\n{log.read_text()}" for rank, log in enumerate(logs)]
            raise RuntimeError(f"{module}: exit codes {codes}\n" + "\n".join(texts))


def run_on_two_hosts(module: str, arguments: Sequence[str], megabits: int) -> None:
    """Does the same with two ranks that communicate over a link of that bandwidth, each in a network
    namespace of its own (see `tools.torture.namespaces.lacking`)."""
    with TwoHosts() as hosts:
        hosts.limit(megabits)
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        codes = _wait(hosts.start(["-m", module, *arguments], environment=environment))
    if any(codes):
        raise RuntimeError(f"{module}: exit codes {codes}")


def _wait(started: Sequence[subprocess.Popen[Any]]) -> list[int]:
    try:
        codes = []
        for process in started:
            codes.append(process.wait())
            if codes[-1]:
                break  # the others would wait for it
        return codes
    finally:
        for process in started:
            process.kill()
            process.wait()
