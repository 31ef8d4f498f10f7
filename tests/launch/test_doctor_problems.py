"""Problems of machines: each is made for real where that can be, with variables, stand-ins for tools and
files below another root, and else told by what a machine would say."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launch.doctor import limits
from launch.doctor.machine import Machine, Torch, mount_of, this_machine
from launch.doctor.problem import Problem
from launch.doctor.problems import PROBLEMS, mending, problems
from launch.main import main
from tests.small_run import environment

GPU = "GPU 0: NVIDIA A100-SXM4-80GB (UUID: GPU-1)\n"
SMI = GPU + "| NVIDIA-SMI 535.1   Driver Version: 535.1   CUDA Version: 12.2 |\n"
CUDA = Torch("2.15.0+cu130", "13.0")
A100 = Torch("2.15.0", "13.0", True, ("sm_80", "sm_90", "compute_90"), (("A100", (8, 0)),))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """One without a fault, whose root is a folder of the test."""
    root, tools = tmp_path / "root", tmp_path / "tools"
    for folder in ("dev/shm", "sys/class/net/eth0", "sys/class/net/lo", "sys/fs/cgroup", "proc"):
        (root / folder).mkdir(parents=True)
    tools.mkdir()
    (tmp_path / "home").mkdir()
    for name in ("g++", "nvcc"):
        tool(tools / name, "exit 0")
    env = {"PATH": str(tools), "HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path)}
    return Machine(env, root, tmp_path, (3, 12), torch=replace(CUDA), cores=8, all_cores=8)


def tool(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def with_env(machine: Machine, **env: str) -> Machine:
    return replace(machine, env={**machine.env, **env})


def file(machine: Machine, path: str, text: str = "") -> Machine:
    (machine.root / path).parent.mkdir(parents=True, exist_ok=True)
    (machine.root / path).write_text(text)
    return machine


def stale(machine: Machine) -> Machine:
    lock = Path(machine.env["HOME"]) / ".cache/torch_extensions/py312_cu130/fused_adam/lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    os.utime(lock, (time.time() - 3600,) * 2)
    return machine


def fresh(machine: Machine) -> Machine:
    stale(machine)
    for lock in Path(machine.env["HOME"]).rglob("lock"):
        os.utime(lock)
    return machine


def without(machine: Machine, *names: str) -> Machine:
    for name in names:
        (Path(machine.env["PATH"]) / name).unlink()
    return machine


def slurm(machine: Machine, answer: str) -> Machine:
    for name in ("sbatch", "sinfo"):
        tool(Path(machine.env["PATH"]) / name, answer)
    return machine


def library(machine: Machine, version: str) -> Machine:
    file(machine, f"cuda/libcudart.so.{version}")
    return with_env(machine, LD_LIBRARY_PATH=f":{machine.root / 'cuda'}")


Change = Callable[[Machine], Machine]
CASES: dict[str, tuple[Change, str | None]] = {
    "nothing": (lambda m: m, None),
    "old Python": (lambda m: replace(m, python=(3, 10)), "Python too old: Python 3.10"),
    "new Python": (lambda m: replace(m, python=(3, 15)), "Python too new: Python 3.15"),
    "a torchvision for another": (
        lambda m: replace(m, torchvision_wants="==2.13.0"),
        "torchvision and torch: torchvision was made for torch ==2.13.0, and torch is 2.15.0",
    ),
    "a torchvision that fits": (lambda m: replace(m, torchvision_wants=">=2.14.0"), None),
    "a torchvision that fails": (
        lambda m: replace(m, torchvision_fault="operator torchvision::nms does not exist"),
        "torchvision and torch: torchvision cannot be imported beside torch 2.15.0 (operator",
    ),
    "a CPU build on a GPU machine": (
        lambda m: replace(m, torch=Torch("2.15.0+cpu"), smi=GPU),
        "torch without CUDA: torch 2.15.0+cpu is a CPU build, and this machine has 1 GPU (NVIDIA A100",
    ),
    "the same, told by the kernel": (
        lambda m: replace(
            file(m, "proc/driver/nvidia/gpus/0000:01:00.0/information"), torch=Torch("2.15.0+cpu")
        ),
        "torch without CUDA: torch 2.15.0+cpu is a CPU build",
    ),
    "a CPU build on a CPU machine": (lambda m: replace(m, torch=Torch("2.15.0+cpu")), None),
    "an old driver": (
        lambda m: replace(m, smi=SMI),
        "driver older than torch's CUDA: the driver runs CUDA up to 12.2, and torch was built for 13.0",
    ),
    "a driver of the same major": (lambda m: replace(m, smi=SMI, torch=Torch("2.15.0", "12.8")), None),
    "hidden GPUs": (
        lambda m: with_env(replace(m, smi=GPU), CUDA_VISIBLE_DEVICES=""),
        "GPUs are hidden: CUDA_VISIBLE_DEVICES='' hides 1 GPU (NVIDIA A100",
    ),
    "an older GPU": (
        lambda m: replace(m, smi=GPU, torch=replace(A100, devices=(("V100", (7, 0)),))),
        "GPU unknown to torch: V100 is sm_70, and torch 2.15.0 has sm_80, sm_90, compute_90",
    ),
    "a known GPU": (lambda m: replace(m, smi=GPU, torch=A100), None),
    "a later minor": (lambda m: replace(m, torch=replace(A100, devices=(("A10", (8, 6)),))), None),
    "a newer GPU, by PTX": (lambda m: replace(m, torch=replace(A100, devices=(("B200", (10, 0)),))), None),
    "a newer GPU, without": (
        lambda m: replace(m, torch=replace(A100, devices=(("B200", (10, 0)),), archs=("sm_80", "sm_90"))),
        "GPU unknown to torch: B200 is sm_100",
    ),
    "no compiler": (lambda m: without(m, "g++"), "no compiler: a C++ compiler not found"),
    "$CXX that is not there": (lambda m: with_env(m, CXX="g++-99"), "no compiler: a C++ compiler"),
    "no nvcc with a GPU": (
        lambda m: without(replace(m, smi=GPU, torch=A100), "nvcc"),
        "no compiler: nvcc not found",
    ),
    "no nvcc without": (lambda m: without(m, "nvcc"), None),
    "a stale lock": (stale, "stale lock of a build: "),
    "a lock in use": (fresh, None),
    "another CUDA": (lambda m: library(m, "12"), "another CUDA on LD_LIBRARY_PATH: LD_LIBRARY_PATH puts "),
    "the same CUDA": (lambda m: library(m, "13.0.48"), None),
    "TF32": (lambda m: with_env(m, NVIDIA_TF32_OVERRIDE="0"), "TF32 is overruled: NVIDIA_TF32_OVERRIDE=0"),
    "small floats": (lambda m: replace(m, flushes=True), "small floats are 0: "),
    "latin-1": (lambda m: replace(m, encoding="iso8859-1"), "not UTF-8: output is in iso8859-1"),
    "UTF-8 in other words": (lambda m: replace(m, encoding="UTF8"), None),
    "old Pillow": (lambda m: replace(m, pillow_lacks=("avif",)), "Pillow without some kinds: this Pillow"),
    "offline": (lambda m: with_env(m, HF_HUB_OFFLINE="1"), "downloads are switched off: HF_HUB_OFFLINE"),
    "not offline": (lambda m: with_env(m, HF_HUB_OFFLINE="0"), None),
    "half a proxy": (lambda m: with_env(m, http_proxy="proxy:3128"), "proxy for http alone: "),
    "a whole proxy": (lambda m: with_env(m, http_proxy="proxy:3128", HTTPS_PROXY="proxy:3128"), None),
    "a folder that is a file": (
        lambda m: with_env(m, TMPDIR=str(file(m, "file").root / "file")),
        "a folder cannot be written: TMPDIR ",
    ),
    "no /dev/shm": (lambda m: (m.root / "dev/shm").rmdir() or m, "no /dev/shm: "),
    "a small container": (
        lambda m: file(m, "sys/fs/cgroup/memory.max", f"{2**28}\n"),
        "memory is limited: this container or job may use 0.2 GiB",
    ),
    "a small job, version 1": (
        lambda m: file(
            file(m, "proc/self/cgroup", "4:memory:/slurm/job_7\n"),
            "sys/fs/cgroup/memory/slurm/job_7/memory.limit_in_bytes",
            str(2**28),
        ),
        "memory is limited: ",
    ),
    "no limit": (lambda m: file(m, "sys/fs/cgroup/memory.max", "max\n"), None),
    "a quota of cores": (
        lambda m: file(m, "sys/fs/cgroup/cpu.max", "150000 100000\n"),
        "cores are limited: 1.5 of 8 cores may be used",
    ),
    "few of the cores": (lambda m: replace(m, cores=2), "cores are limited: 2 of 8 cores"),
    "few, and said": (lambda m: with_env(replace(m, cores=2), OMP_NUM_THREADS="2"), None),
    "ranks without threads": (
        lambda m: with_env(m, LOCAL_WORLD_SIZE="4"),
        "threads of several processes: 4 processes a node",
    ),
    "ranks with threads": (lambda m: with_env(m, LOCAL_WORLD_SIZE="4", OMP_NUM_THREADS="2"), None),
    "few files": (lambda m: replace(m, open_files=256), "few open files: ulimit -n is 256"),
    "NFS without locks": (
        lambda m: file(m, "proc/mounts", f"srv:/x {m.folder.resolve()} nfs4 rw,local_lock=all 0 0\n"),
        "locks of one machine: ",
    ),
    "NFS with locks": (
        lambda m: file(m, "proc/mounts", f"srv:/x {m.folder.resolve()} nfs4 rw,local_lock=none 0 0\n"),
        None,
    ),
    "no such network": (
        lambda m: with_env(m, NCCL_SOCKET_IFNAME="ib0"),
        "no such network: NCCL_SOCKET_IFNAME=ib0, and this machine has eth0, lo",
    ),
    "a network by its beginning": (lambda m: with_env(m, NCCL_SOCKET_IFNAME="ib,eth"), None),
    "all networks but one": (lambda m: with_env(m, NCCL_SOCKET_IFNAME="^docker0"), None),
    "gloo takes whole names": (lambda m: with_env(m, GLOO_SOCKET_IFNAME="eth"), "no such network: GLOO"),
    "no such rank 0": (
        lambda m: with_env(m, MASTER_ADDR="node-17.invalid"),
        "rank 0 cannot be found: MASTER_ADDR=node-17.invalid",
    ),
    "rank 0 here": (lambda m: with_env(m, MASTER_ADDR="127.0.0.1"), None),
    "no cluster": (lambda m: slurm(m, "echo no controller >&2; exit 1"), "SLURM does not answer: "),
    "a cluster": (lambda m: slurm(m, "echo 'gpu* up'"), None),
    "no requeue": (lambda m: with_env(m, SLURM_JOB_ID="40"), "no requeue: job 40 has no HRGAN_REQUEUE"),
    "a requeue": (lambda m: with_env(m, SLURM_JOB_ID="40", HRGAN_REQUEUE="3"), None),
}


@pytest.mark.parametrize("case", CASES)
def test_each_problem_and_what_it_leaves_alone(case: str, machine: Machine) -> None:
    change, words = CASES[case]
    found = [f"{one.name}: {one.seen}" for one in problems(change(machine))]
    assert len(found) == (words is not None), found
    assert words is None or found[0].startswith(words), found


def test_disks_without_room_and_clocks_that_differ(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A tenth of a gigabyte is free, and the file server is half a minute ahead."""
    usage, stat = limits.shutil.disk_usage, os.stat
    monkeypatch.setattr(limits.shutil, "disk_usage", lambda path: usage(path)._replace(free=10**8))

    class Later:
        st_mtime = time.time() + 30

    monkeypatch.setattr(
        limits.os, "stat", lambda path, **how: Later if "tmp" in Path(path).name else stat(path, **how)
    )
    found = {one.name: one.seen for one in problems(machine)}
    assert found["a disk is full"] == f"this folder {tmp_path} has 0.09 GiB free"
    assert "ahead" in found["clocks differ"]


def test_mounts_that_cannot_be_written_or_run(tmp_path: Path) -> None:
    """Real file systems in memory, in a name space of mounts of their own."""
    script = (
        "import sys; from pathlib import Path; from dataclasses import replace\n"
        "from launch.doctor.machine import Machine; from launch.doctor.problems import problems\n"
        f"base = Path({str(tmp_path)!r})\n"
        "env = {'PATH': '/usr/bin', 'HOME': str(base / 'home'), 'TMPDIR': str(base / 'run')}\n"
        "for p in problems(Machine(env, folder=base / 'fixed', cores=1, all_cores=1)): print(p.name, "
        "p.seen)\n"
    )
    for name in ("fixed", "run", "home"):
        (tmp_path / name).mkdir()
    mounts = (
        f"mount -t tmpfs -o ro none {tmp_path}/fixed && mount -t tmpfs -o noexec,size=2m none {tmp_path}/run "
        f'&& mount -t tmpfs -o size=1m none /dev/shm && exec {sys.executable} -c "$0"'
    )
    command = [
        "unshare",
        "--mount",
        *([] if os.geteuid() == 0 else ["--map-root-user"]),
        "sh",
        "-c",
        mounts,
        script,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment(), check=False)
    assert done.returncode == 0, done.stderr
    assert f"a folder cannot be written this folder {tmp_path}/fixed" in done.stdout
    assert f"nothing may run from a folder TMPDIR {tmp_path}/run is mounted noexec" in done.stdout
    assert "small /dev/shm /dev/shm has 1 MiB" in done.stdout
    assert "a disk is full" in done.stdout


def test_limits_and_words_of_a_real_process(tmp_path: Path) -> None:
    """ulimit, the encoding of the output, and affinity, as a process has them."""
    script = (
        "from launch.doctor.machine import this_machine as m; from launch.doctor.problems import problems\n"
        "for p in problems(m()): print(p.name)\n"
    )

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

    env = {**environment(), "PYTHONIOENCODING": "latin-1", "HF_HUB_OFFLINE": "1"}
    del env["OMP_NUM_THREADS"]
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True, text=True, timeout=120, env=env, preexec_fn=few, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    expected = {"few open files", "not UTF-8", "downloads are switched off"}
    if (os.cpu_count() or 1) > 1:
        expected.add("cores are limited")
    assert expected <= set(done.stdout.splitlines())


def test_a_file_system_without_locks(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(limits.fcntl, "flock", refuse)
    assert [one.name for one in problems(machine)] == ["no locks"]


def test_a_look_that_breaks_is_said_and_the_rest_goes_on(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(machine: Machine) -> Problem | None:
        """Something new."""
        raise KeyError("x")

    monkeypatch.setattr("launch.doctor.problems.PROBLEMS", (broken, *PROBLEMS))
    found = problems(replace(machine, open_files=10))
    assert [(one.name, one.wrong) for one in found] == [("not looked at", False), ("few open files", False)]


def test_this_machine_can_be_read() -> None:
    machine = this_machine()
    assert machine.torch is not None
    assert (machine.cores, machine.torchvision_fault) == (len(os.sched_getaffinity(0)), None)
    assert mount_of(machine, Path("/proc")) is not None


def test_what_is_wrong_comes_last_with_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MASTER_ADDR", "nowhere.invalid")
    assert main(["doctor"]) == 1
    _, _, end = capsys.readouterr().out.partition("\nwhat to mend\n")
    assert end.startswith("  WRONG  rank 0 cannot be found: MASTER_ADDR=nowhere.invalid is not known here")
    assert end.splitlines()[1].startswith("         mend: its number instead")
    assert mending([Problem("a", False, "b\n", "c")]) == "what to mend\n  -      a: b\\n\n         mend: c"
