"""Starts this process among its peers and connects them; Accelerate does the bootstrap."""

from __future__ import annotations

import faulthandler
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Literal, TypeVar

import torch
import torch.distributed as dist

from pipeline.contracts import Process
from pipeline.engines.devices import gpu_name, own_device
from pipeline.engines.meeting import Meeting, number
from pipeline.errors import UserError

Value = TypeVar("Value")
DeviceChoice = Literal["auto", "cpu", "cuda"]
_GOODBYE_SECONDS = 20.0


def start_process(
    device: DeviceChoice = "auto", timeout_minutes: float = 30, *, share_gpus: bool = False
) -> Process:
    """Joins the process group that RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT describe.

    Without them this is a run of one process. timeout_minutes: how long to wait for a peer to come, or to
    join a collective, before that is an error. share_gpus: whether processes may share a GPU, because they
    exchange nothing through NCCL. Raises RunFailed, which names the address, and UserError if two processes
    have one GPU.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("engine.device=cuda: no CUDA device is visible; allowed: auto, cpu")
    on_cpu = device == "cpu" or not torch.cuda.is_available()
    expected = number("WORLD_SIZE") if "WORLD_SIZE" in os.environ else 1
    if expected == 1:
        return Process(device=torch.device("cpu") if on_cpu else own_device(0))
    from accelerate import PartialState  # half a second, for several processes alone

    own = torch.device("cpu") if on_cpu else own_device(number("LOCAL_RANK"))
    gpu = None if on_cpu or share_gpus else gpu_name(own)
    # Before there is a group, which reads them once; what a person has set stays.
    for name, value in nccl_settings(timeout_minutes).items():
        os.environ.setdefault(name, value)
    # Named explicitly: left to itself, Accelerate on CPU may start no group at all, and every rank
    # would train alone without a word.
    backend = "gloo" if on_cpu else "nccl"
    rank = number("RANK")
    store = Meeting(rank, expected, 60 * timeout_minutes, gpu=gpu).store()
    group = {"store": store, "rank": rank, "world_size": expected}
    state = PartialState(cpu=on_cpu, backend=backend, timeout=timedelta(minutes=timeout_minutes), **group)
    if state.num_processes != expected or not dist.is_initialized():
        raise RuntimeError(f"WORLD_SIZE={expected}, but the group has {state.num_processes} processes")
    if not on_cpu:
        # Accelerate has chosen by local rank, which is wrong where each process sees a GPU of its own alone.
        torch.cuda.set_device(own)
    return Process(state.process_index, state.num_processes, state.local_process_index, own)


def nccl_settings(timeout_minutes: float) -> dict[str, str]:
    """Returns the settings of torch's NCCL with which no process is aborted before `Heartbeat` has named the
    lost one.

    By default torch's watchdog aborts a process as soon as NCCL reports an error, such as a peer that was
    killed, which is long before that peer counts as silent. Here it only reports, and the heartbeat ends the
    job: it looks at silence, at who lags behind and, after `timeout_minutes`, at exchanges in which nobody
    does. The monitor of the watchdog itself comes last.
    """
    return {
        "TORCH_NCCL_ASYNC_ERROR_HANDLING": "0",  # neither the communicator nor the process is aborted
        "TORCH_NCCL_HEARTBEAT_TIMEOUT_SEC": str(round(2 * 60 * timeout_minutes) + 600),
    }


@contextmanager
def joined(device: DeviceChoice, timeout_minutes: float, *, share_gpus: bool = False) -> Iterator[Process]:
    """Calls `start_process`, and `stop_process` at the end. After an error the group is given up quickly and
    without another error, since the first one is what users must read."""
    process = start_process(device, timeout_minutes, share_gpus=share_gpus)
    try:
        yield process
    except BaseException:
        stop_process(failed=True)
        raise
    stop_process()


def stop_process(*, failed: bool = False) -> None:
    """Leaves the group in good order. failed: whether others may be gone, for whom NCCL would wait; then it
    is aborted.

    It takes at most `_GOODBYE_SECONDS`. A group that still hangs may not keep the process: after as long
    again it ends with exit code 1, whatever its threads do.
    """
    if not dist.is_initialized():  # DeepSpeed has one also for a single process
        return
    leave: Callable[[], object] = dist.destroy_process_group
    if failed and dist.get_backend() == "nccl":
        leave = getattr(dist.distributed_c10d, "_abort_process_group", leave)
    if not _within(_GOODBYE_SECONDS, leave):
        nowhere = open(os.devnull, "w")  # noqa: SIM115 - until the end of the process
        faulthandler.dump_traceback_later(_GOODBYE_SECONDS, exit=True, file=nowhere)


def _within(seconds: float, act: Callable[[], object]) -> bool:
    """Returns whether `act` ends in time, with or without an error."""

    def quietly() -> None:
        with suppress(Exception):
            act()

    thread = threading.Thread(target=quietly, name="goodbye", daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


def from_first(value: Value, process: Process) -> Value:
    """Returns the `value` of rank 0 on every rank."""
    if process.world_size == 1:
        return value
    # Pickled on the way, which is safe between the processes of one run: nothing of it comes from a file.
    box = [value]
    dist.broadcast_object_list(box, src=0, device=process.device)
    return box[0]


def from_all(value: Value, process: Process) -> list[Value]:
    """Returns the `value` of every rank, in the order of ranks, on every rank; waits until all have called
    it."""
    if process.world_size == 1:
        return [value]
    # As many entries as ranks, of any value: they are overwritten.
    boxes: list[Value] = [value] * process.world_size
    dist.all_gather_object(boxes, value)
    return boxes
