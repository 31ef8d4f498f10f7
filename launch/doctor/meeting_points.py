"""Problems of several machines: networks, addresses, a cluster's scheduler."""

from __future__ import annotations

import socket

from launch.doctor.machine import Machine, answer_of
from launch.doctor.problem import Look, Problem

_INTERFACES = ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME")


def interfaces(machine: Machine) -> Problem | None:
    """A network that a variable names and this machine does not have."""
    there = sorted(path.name for path in machine.root.glob("sys/class/net/*"))
    for name in _INTERFACES:
        value = machine.env.get(name, "")
        if not value or value.startswith("^"):  # those that NCCL shall not take
            continue
        wanted = [one for one in value.lstrip("=").split(",") if one]
        if not any(_named(one, there, exact=value.startswith("=") or "GLOO" in name) for one in wanted):
            return Problem(
                "no such network",
                True,
                f"{name}={value}, and this machine has {', '.join(there) or 'no networks'}",
                f"set {name} to one of them that reaches the other machines, or unset it",
            )
    return None


def _named(wanted: str, there: list[str], *, exact: bool) -> bool:
    """NCCL takes names that begin so, gloo whole names."""
    name = wanted.split(":")[0]
    return name in there if exact else any(one.startswith(name) for one in there)


def master(machine: Machine) -> Problem | None:
    """An address of rank 0 that nobody knows."""
    address = machine.env.get("MASTER_ADDR")
    if not address:
        return None
    try:
        socket.getaddrinfo(address, None)
    except (OSError, UnicodeError) as error:
        return Problem(
            "rank 0 cannot be found",
            True,
            f"MASTER_ADDR={address} is not known here ({getattr(error, 'strerror', None) or error})",
            "its number instead (hostname -I on that machine), or an entry in /etc/hosts",
        )
    return None


def no_cluster(machine: Machine) -> Problem | None:
    """SLURM's commands without a controller that answers."""
    tool = machine.tool("sinfo")
    if tool is None or machine.tool("sbatch") is None or answer_of([tool, "--noheader"]) is not None:
        return None
    return Problem(
        "SLURM does not answer",
        False,
        "sbatch and sinfo are installed, and no controller answers: hrgan submit will be refused",
        "go to a login node of the cluster, or look at slurm.conf and slurmctld; hrgan train needs no SLURM",
    )


def no_requeue(machine: Machine) -> Problem | None:
    """A job that ends at its time limit instead of going on."""
    if "SLURM_JOB_ID" not in machine.env or "HRGAN_REQUEUE" in machine.env:
        return None
    return Problem(
        "no requeue",
        False,
        f"job {machine.env['SLURM_JOB_ID']} has no HRGAN_REQUEUE: a training that is stopped by its time "
        "limit "
        "saves, and is not put back into the queue",
        "hrgan submit writes jobs that go on by themselves; by hand: --requeue, --signal=USR1@120 and "
        "HRGAN_REQUEUE=10",
    )


MEETING_POINTS: tuple[Look, ...] = (interfaces, master, no_cluster, no_requeue)
