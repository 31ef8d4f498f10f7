"""Problems of what a machine allows: memory, cores, files, disks, clocks."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from launch.doctor.machine import Machine, mount_of
from launch.doctor.problem import GIB, Look, Problem

_LEAST_FREE, _LEAST_SHARED = GIB, GIB // 4
_FEW_FILES = 1024
_SKEW_SECONDS = 2.0
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
_LOCAL = ("nolock", "local_lock=all", "local_lock=flock")


def unwritable(machine: Machine) -> Problem | None:
    """Folders that must take files and do not."""
    for name, folder, mend in _folders(machine):
        there = _nearest(folder)
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK) or _read_only(there):
            return Problem("a folder cannot be written", True, f"{name} {folder} cannot be written", mend)
    return None


def full(machine: Machine) -> Problem | None:
    """Disks without room."""
    for name, folder, mend in _folders(machine):
        free = shutil.disk_usage(_nearest(folder)).free
        if free < _LEAST_FREE:
            return Problem("a disk is full", True, f"{name} {folder} has {free / GIB:.2f} GiB free", mend)
    return None


def _folders(machine: Machine) -> Iterator[tuple[str, Path, str]]:
    """What each is for, where it is, and what to do about it."""
    yield "this folder", machine.folder, "give --run and OUT folders on another disk, or make room"
    yield "TMPDIR", machine.temporary, "export TMPDIR= a folder on another disk, or make room"
    yield (
        "the cache of compiled operations",
        machine.operations,
        "export HRGAN_OPS_CACHE= a folder that can be written, on a disk with room",
    )


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest above it that exists."""
    return next((path for path in (folder, *folder.parents) if path.exists()), Path("/"))


def _read_only(folder: Path) -> bool:
    return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)


def not_executable(machine: Machine) -> Problem | None:
    """Folders of compiled operations from which nothing may run."""
    for name, folder, mend in list(_folders(machine))[1:]:
        if os.statvfs(_nearest(folder)).f_flag & os.ST_NOEXEC:
            return Problem(
                "nothing may run from a folder",
                False,
                f"{name} {folder} is mounted noexec: what is compiled there cannot be loaded",
                mend.split(",")[0],
            )
    return None


def shared_memory(machine: Machine) -> Problem | None:
    """A /dev/shm too small for loader workers."""
    shared = machine.root / "dev/shm"
    if not shared.is_dir():
        return Problem(
            "no /dev/shm",
            False,
            "/dev/shm is not there, and loader workers need it",
            "data.workers=0, or mount it",
        )
    size = shutil.disk_usage(shared).total
    if size >= _LEAST_SHARED:
        return None
    return Problem(
        "small /dev/shm",
        False,
        f"/dev/shm has {size / 2**20:.0f} MiB, as containers do by default: loader workers end with a bus "
        "error",
        "docker run --shm-size=8g (or --ipc=host), or data.workers=0",
    )


def memory_limit(machine: Machine) -> Problem | None:
    """A limit of the container or job far below the machine's memory."""
    limits = [int(text) for text in _cgroup(machine, "memory.max", "memory.limit_in_bytes") if text.isdigit()]
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if not limits or min(limits) >= total / 2:
        return None
    return Problem(
        "memory is limited",
        False,
        f"this container or job may use {min(limits) / GIB:.1f} GiB of the machine's {total / GIB:.0f}: "
        "what takes "
        "more is killed without a word",
        "ask for more (docker run --memory, sbatch --mem, memory_gb in the cluster file), or fewer "
        "data.workers",
    )


def _cgroup(machine: Machine, *names: str) -> Iterator[str]:
    """The values of this process's groups, from its own up to the root, in both versions of cgroups."""
    base = machine.root / "sys/fs/cgroup"
    own = [Path()]
    try:
        lines = (machine.root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        path = Path(line.split(":", 2)[-1].strip().lstrip("/"))
        own += [path, *path.parents]
    for folder in dict.fromkeys(own):
        for name in names:
            for place in (
                base / folder / name,
                base / "memory" / folder / name,
                base / "cpu" / folder / name,
            ):
                try:
                    yield place.read_text().strip()
                except OSError:
                    continue


def core_limit(machine: Machine) -> Problem | None:
    """Fewer cores than there seem to be."""
    quotas = [text.split() for text in _cgroup(machine, "cpu.max")]
    shares = [int(q[0]) / int(q[1]) for q in quotas if len(q) == 2 and q[0].isdigit()]
    usable = min([float(machine.cores), *shares])
    if usable > 0.75 * machine.all_cores or machine.env.get("OMP_NUM_THREADS"):
        return None
    threads = max(int(usable), 1)
    return Problem(
        "cores are limited",
        False,
        f"{usable:g} of {machine.all_cores} cores may be used, and some libraries start a thread for each "
        "of them",
        f"export OMP_NUM_THREADS={threads}, and at most {threads} data.workers",
    )


def threads_of_ranks(machine: Machine) -> Problem | None:
    """Several processes each of which takes all cores."""
    ranks = machine.env.get("LOCAL_WORLD_SIZE") or machine.env.get("SLURM_NTASKS_PER_NODE") or "1"
    known = machine.env.get("OMP_NUM_THREADS") or machine.env.get("SLURM_CPUS_PER_TASK")
    if not ranks.isdigit() or int(ranks) < 2 or known:
        return None
    share = max(machine.cores // int(ranks), 1)
    return Problem(
        "threads of several processes",
        False,
        f"{ranks} processes a node, and OMP_NUM_THREADS is not set: each may take all {machine.cores} cores",
        f"export OMP_NUM_THREADS={share}, or --cpus-per-task={share} in SLURM",
    )


def open_files(machine: Machine) -> Problem | None:
    """Few files that may be open at once."""
    if machine.open_files >= _FEW_FILES:
        return None
    return Problem(
        "few open files",
        False,
        f"ulimit -n is {machine.open_files}: data sets of many shards, loader workers and processes need "
        "more",
        "ulimit -n 4096 (or the limits of the job, or docker run --ulimit nofile=65536)",
    )


def locks(machine: Machine) -> Problem | None:
    """A file system where a lock is not known to others."""
    mount = mount_of(machine, machine.folder)
    local = [one for one in mount[1].split(",") if one in _LOCAL] if mount else []
    if mount and mount[0].startswith("nfs") and local:
        return Problem(
            "locks of one machine",
            False,
            f"{machine.folder} is on NFS mounted with {local[0]}: two machines do not see each other's "
            "locks and "
            "may write the same run",
            "mount it without that option, or start a run on one machine at a time",
        )
    fault = _lock_fault(machine.folder)
    if fault is None:
        return None
    return Problem(
        "no locks",
        True,
        f"the file system of {machine.folder} has no locks (flock: {os.strerror(fault)}): runs cannot be "
        "written",
        "another file system, or mount it with locks",
    )


def _lock_fault(folder: Path) -> int | None:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno if error.errno in _NO_LOCKS else None
    return None


def clock_skew(machine: Machine) -> Problem | None:
    """A file server whose clock differs."""
    skew = _skew(machine.folder)
    if skew is None or abs(skew) <= _SKEW_SECONDS:
        return None
    return Problem(
        "clocks differ",
        False,
        f"a file written to {machine.folder} is dated {abs(skew):.0f} s "
        f"{'ahead' if skew > 0 else 'behind'}: signs "
        "of life of other machines then seem too old or too new",
        "synchronise the clocks of this machine and of the file server (chrony, ntp)",
    )


def _skew(folder: Path) -> float | None:
    """By how many seconds the date of a new file is ahead of this machine's clock."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            before = time.time()
            file.write(b"0")
            file.flush()
            os.fsync(file.fileno())
            dated, after = os.stat(file.name).st_mtime, time.time()
    except OSError:
        return None
    return dated - after if dated > after else min(dated - before, 0.0)


LIMITS: tuple[Look, ...] = (
    *(unwritable, full, not_executable, shared_memory, memory_limit, core_limit, threads_of_ranks),
    *(open_files, locks, clock_skew),
)
