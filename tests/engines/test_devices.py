"""Which GPU a process takes under every launcher, and what is refused before NCCL starts."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
import torch

from launch.cluster.processes import free_port, rank_variables
from launch.cluster.srun import srun_group, task_place
from pipeline.config.run import EngineConfig
from pipeline.engines import devices, meeting, process
from pipeline.engines.devices import check_processes, gpu_name, own_index
from pipeline.engines.meeting import Meeting
from pipeline.engines.process import nccl_settings, start_process
from pipeline.engines.zero import _local_rank_is
from pipeline.errors import UserError
from tests.small_run import ROOT, environment

SRUN = {
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "3",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_TASKS_PER_NODE": "4",
    "SLURM_STEP_NUM_NODES": "1",
    "SLURM_NODEID": "0",
    "SLURM_JOB_ID": "7",
}


class Gpus:
    """`torch.cuda` of a machine with so many visible GPUs, at places 0, 1, ... of the bus."""

    def __init__(self, visible: int, first: int = 0) -> None:
        self.visible, self.first, self.current = visible, first, -1

    def install(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(torch.cuda, "is_available", lambda: self.visible > 0)
        patch.setattr(torch.cuda, "device_count", lambda: self.visible)
        patch.setattr(torch.cuda, "set_device", self._set)
        patch.setattr(torch.cuda, "get_device_properties", self._properties)

    def _set(self, device: torch.device) -> None:
        assert device.index < self.visible, "CUDA error: invalid device ordinal"
        self.current = device.index

    def _properties(self, device: torch.device) -> SimpleNamespace:
        return SimpleNamespace(pci_domain_id=0, pci_bus_id=self.first + device.index, pci_device_id=0)


@pytest.mark.parametrize(
    ("visible", "local_rank", "index"),
    [
        (8, 0, 0),  # all GPUs of the machine are visible to each: torchrun, --processes, srun --gpus-per-node
        (8, 5, 5),
        (4, 3, 3),  # CUDA_VISIBLE_DEVICES=4,5,6,7 for all
        (1, 0, 0),  # each has its own: srun --gpus-per-task=1, or the name of a MIG part
        (1, 3, 0),
        (2, 3, 1),  # two of its own
    ],
)
def test_the_local_rank_chooses_among_what_is_visible(visible: int, local_rank: int, index: int) -> None:
    assert own_index(visible, local_rank) == index


@pytest.mark.parametrize(
    "variables", [rank_variables(3, 4, 1), {**srun_group(SRUN), **SRUN}, {"SLURM_LOCALID": "3"}]
)
@pytest.mark.parametrize(("visible", "index"), [(8, 3), (4, 3), (1, 0)])
def test_every_launcher_comes_to_the_same_one(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], visible: int, index: int
) -> None:
    gpus = Gpus(visible)
    gpus.install(monkeypatch)
    assert devices.own_device(task_place(variables).local_rank) == torch.device("cuda", index)
    assert gpus.current == index


class Met(Exception):
    """The group would begin here."""


@pytest.mark.parametrize(("visible", "index"), [(4, 3), (1, 0)])
def test_a_process_of_a_group_names_its_own_gpu(
    monkeypatch: pytest.MonkeyPatch, visible: int, index: int
) -> None:
    seen = {}

    def meet(rank: int, count: int, seconds: float, *, gpu: str | None) -> None:
        seen.update(rank=rank, gpu=gpu, handling=os.environ["TORCH_NCCL_ASYNC_ERROR_HANDLING"])
        raise Met

    gpus = Gpus(visible, first=0x1B)
    gpus.install(monkeypatch)
    monkeypatch.setattr(process, "Meeting", meet)
    for name in nccl_settings(1):
        monkeypatch.delenv(name, raising=False)
    for name, value in rank_variables(3, 4, 1).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Met):
        start_process("cuda")
    assert gpus.current == index
    assert seen["gpu"].endswith(f" 0000:{0x1B + index:02x}:00")
    assert seen["handling"] == "0"
    with pytest.raises(Met):
        start_process("auto", share_gpus=True)
    assert seen["gpu"] is None


def test_a_single_process_takes_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = Gpus(4)
    gpus.install(monkeypatch)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert start_process("auto").device == torch.device("cuda", 0)
    assert gpus.current == 0
    assert start_process("cpu").device == torch.device("cpu")


def test_more_processes_than_gpus_are_refused_before_they_start(monkeypatch: pytest.MonkeyPatch) -> None:
    Gpus(2).install(monkeypatch)
    check_processes(2, on_cpu=False)
    check_processes(8, on_cpu=True)
    with pytest.raises(UserError, match=r"^--processes 3: 2 GPUs are visible on \S+, .*allowed: up to 2, or"):
        check_processes(3, on_cpu=False)
    Gpus(1).install(monkeypatch)
    with pytest.raises(UserError, match=r"1 GPU is visible .* allowed: one process, or"):
        check_processes(2, on_cpu=False)
    Gpus(0).install(monkeypatch)
    check_processes(8, on_cpu=False)


@pytest.mark.parametrize(("places", "sharing"), [((0, 1, 2), None), ((0, 1, 1), (1, 2)), ((5, 0, 5), (0, 2))])
def test_two_ranks_with_one_gpu_are_refused_by_all(
    monkeypatch: pytest.MonkeyPatch, places: tuple[int, ...], sharing: tuple[int, int] | None
) -> None:
    monkeypatch.setattr(meeting, "_FIRST_SPEAKS_SECONDS", 2.0)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(free_port()))
    said: dict[int, str] = {}

    def come(rank: int) -> None:
        try:
            stores.append(Meeting(rank, 3, 20, gpu=f"node7 boot 0000:{places[rank]:02x}:00").store())
        except UserError as error:
            said[rank] = str(error)

    stores: list[object] = []
    threads = [threading.Thread(target=come, args=(rank,)) for rank in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if sharing is None:
        assert not said
        return
    assert set(said) == {0, 1, 2}
    (line,) = set(said.values())
    named = {f"ranks {a} and {b} on node7" for a, b in (sharing, sharing[::-1])}
    assert any(line.startswith(f"engine.device: {names} have the same GPU (0000:") for names in named)
    assert "allowed: " in line


def test_names_tell_cards_apart_and_not_parts_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    Gpus(2).install(monkeypatch)
    names = [gpu_name(torch.device("cuda", index)) for index in (0, 1, 0)]
    assert names[0] != names[1]
    assert names[0] == names[2]


@pytest.mark.parametrize(("index", "seen"), [(0, "0"), (2, "2"), (None, "3")])
def test_deepspeed_is_told_the_gpu_and_nobody_else(
    monkeypatch: pytest.MonkeyPatch, index: int | None, seen: str
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "3")
    with _local_rank_is(index):
        assert os.environ["LOCAL_RANK"] == seen
    assert os.environ["LOCAL_RANK"] == "3"


@pytest.mark.parametrize("minutes", [0.1, 1, 30, 1440])
def test_time_outs_come_in_order(minutes: float) -> None:
    """Heartbeat, exchange, the monitor of torch's watchdog; which by itself ends nothing."""
    config = EngineConfig(timeout_minutes=minutes)
    found = nccl_settings(config.exchange_minutes)
    assert found["TORCH_NCCL_ASYNC_ERROR_HANDLING"] == "0"
    monitor = int(found["TORCH_NCCL_HEARTBEAT_TIMEOUT_SEC"])
    assert minutes * 60 < config.exchange_minutes * 60 < monitor - config.silence_seconds


GOODBYE = """
import sys, time
import torch.distributed as dist
from launch import main
from pipeline.engines import process
from pipeline.errors import RunFailed

def hang(*_):
    time.sleep(1000)

process._GOODBYE_SECONDS = 4
dist.destroy_process_group = {way}
def train(*_):
    with process.joined("cpu", 1):
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        {end}
    print("done")
    return 0
main.get_command = lambda app: type("Command", (), {{"main": staticmethod(lambda **_: train())}})
sys.exit(main.main([]))
"""


@pytest.mark.parametrize("way", ["hang", "lambda *_: 1 / 0", "dist.destroy_process_group"])
@pytest.mark.parametrize(("end", "code"), [("raise RunFailed('the first line')", 1), ("pass", 0)])
def test_leaving_the_group_hides_nothing_and_hangs_for_nobody(way: str, end: str, code: int) -> None:
    words = [sys.executable, "-c", GOODBYE.format(way=way, end=end)]
    alone = {name: value for name, value in environment().items() if name != "WORLD_SIZE"}
    done = subprocess.run(words, env=alone, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == code, done.stderr
    assert done.stderr.splitlines() == (["hrgan: error: the first line"] if code else [])
    assert done.stdout.split() == ([] if code else ["done"])
