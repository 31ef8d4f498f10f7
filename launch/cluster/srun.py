"""A process that srun started finds its rank and its peers in what SLURM says."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pipeline.errors import UserError

# Below the ports that systems give out by themselves, above those of services.
_FIRST_PORT, _PORTS = 12000, 18000
_FIRST_SPECIAL_STEP = 0xFFFFFFF0  # the batch script, an interactive shell and the like: not started by srun


def join_srun() -> None:
    """In one of several tasks that srun started, sets what launchers set: RANK, WORLD_SIZE, LOCAL_RANK,
    LOCAL_WORLD_SIZE, MASTER_ADDR and MASTER_PORT. Elsewhere, and under another launcher, does nothing."""
    group = srun_group(os.environ)
    os.environ.update({name: value for name, value in group.items() if name not in os.environ})


@dataclass(frozen=True)
class TaskPlace:
    """Where a process stands among others that need not talk to each other.

    first: it speaks for all. local_rank: its number on its machine. beside: processes there, itself included.
    """

    first: bool
    local_rank: int
    beside: int


def task_place(environment: Mapping[str, str]) -> TaskPlace:
    """From what a launcher or srun says; alone if none does."""
    rank = environment.get("RANK", environment.get("SLURM_PROCID", "0"))
    local = environment.get("LOCAL_RANK", environment.get("SLURM_LOCALID", "0"))
    node = int(environment.get("SLURM_NODEID", "0"))
    tasks = tasks_per_node(environment.get("SLURM_STEP_TASKS_PER_NODE", ""))
    here = tasks[node] if node < len(tasks) else 1
    return TaskPlace(rank == "0", int(local), int(environment.get("LOCAL_WORLD_SIZE", here)))


def srun_group(
    environment: Mapping[str, str],
    resolves: Callable[[str], bool] | None = None,
    address_of: Callable[[str], str | None] | None = None,
) -> dict[str, str]:
    """The variables of the group that srun's step forms; empty if this is no task of one, or the only one.

    resolves: whether a host name leads to an address. address_of: what SLURM itself has as the address of a
    node. Errors: UserError if the first node cannot be reached by any name.
    """
    count = int(environment.get("SLURM_STEP_NUM_TASKS", "1"))
    step = int(environment.get("SLURM_STEP_ID", _FIRST_SPECIAL_STEP))
    # A shell inside an allocation has a rank too; only srun's own steps are groups.
    if (
        "RANK" in environment
        or "SLURM_PROCID" not in environment
        or step >= _FIRST_SPECIAL_STEP
        or count == 1
    ):
        return {}
    node = int(environment.get("SLURM_NODEID", "0"))
    here = tasks_per_node(environment.get("SLURM_STEP_TASKS_PER_NODE", str(count)))[node]
    cores = int(environment.get("SLURM_CPUS_ON_NODE", os.cpu_count() or 1))
    return {
        "RANK": environment["SLURM_PROCID"],
        "WORLD_SIZE": str(count),
        "LOCAL_RANK": environment["SLURM_LOCALID"],
        "LOCAL_WORLD_SIZE": str(here),
        "MASTER_ADDR": environment.get("MASTER_ADDR") or _address(environment, resolves, address_of),
        "MASTER_PORT": str(_port(environment)),
        "OMP_NUM_THREADS": environment.get("SLURM_CPUS_PER_TASK") or str(max(cores // here, 1)),
    }


def tasks_per_node(text: str) -> list[int]:
    """SLURM's short form of a list: `2(x3),1` is [2, 2, 2, 1]."""
    counts: list[int] = []
    for count, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", text):
        counts += [int(count)] * int(times or 1)
    return counts


def first_node(nodes: str) -> str:
    """The first name of a list of nodes: `rack[2-4,9]n[01-16],login` begins with `rack2n01`."""
    end = re.match(r"(?:[^,\[]|\[[^\]]*\])*", nodes)
    first = end.group() if end else ""
    return re.sub(r"\[([^\],-]*)[^\]]*\]", r"\1", first)


def _address(
    environment: Mapping[str, str],
    resolves: Callable[[str], bool] | None,
    address_of: Callable[[str], str | None] | None,
) -> str:
    if environment.get("SLURM_STEP_NUM_NODES") == "1":
        return "127.0.0.1"
    name = first_node(environment["SLURM_STEP_NODELIST"])
    if (resolves or _resolves)(name):
        return name
    address = (address_of or _address_of)(name)
    if address is None or not (resolves or _resolves)(address):
        raise UserError(
            f"MASTER_ADDR: {name}, the first node of the step, does not resolve; set MASTER_ADDR to an "
            "address that all nodes reach"
        )
    return address


def _port(environment: Mapping[str, str]) -> int:
    """The same for all ranks of a start, and another for whatever else may run on the node: other jobs,
    other steps of this one, and an earlier start whose port is not free yet."""
    job, step = int(environment["SLURM_JOB_ID"]), int(environment["SLURM_STEP_ID"])
    start = int(environment.get("SLURM_RESTART_COUNT", "0"))
    return _FIRST_PORT + (job * 37 + step * 7 + start) % _PORTS


def _resolves(name: str) -> bool:
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        return False
    return True


def _address_of(node: str) -> str | None:
    try:
        done = subprocess.run(
            ["scontrol", "show", "node", node], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"\bNodeAddr=(\S+)", done.stdout)
    return match.group(1) if match else None
