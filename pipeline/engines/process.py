"""Which process this is among its peers, and how the peers talk; Accelerate does the bootstrap."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Literal, TypeVar

import torch
import torch.distributed as dist
from accelerate import PartialState

from pipeline.contracts import Process
from pipeline.engines.meeting import Meeting, number
from pipeline.errors import UserError

Value = TypeVar("Value")


def start_process(device: Literal["auto", "cpu", "cuda"] = "auto", timeout_minutes: float = 30) -> Process:
    """Joins the process group that RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT describe.

    Without them this is a run of one process. timeout_minutes: after which a collective that a peer
    never joins is an error, and a peer that never comes. Errors: RunFailed, which names the address.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("engine.device=cuda: no CUDA device is visible; allowed: auto, cpu")
    on_cpu = device == "cpu" or not torch.cuda.is_available()
    expected = number("WORLD_SIZE") if "WORLD_SIZE" in os.environ else 1
    if expected == 1:
        return Process(device=torch.device("cpu") if on_cpu else torch.device("cuda", 0))
    # Named explicitly: left to itself, Accelerate on CPU may start no group at all, and every rank
    # would train alone without a word.
    backend = "gloo" if on_cpu else "nccl"
    rank = number("RANK")
    store = Meeting(rank, expected, 60 * timeout_minutes).store()
    group = {"store": store, "rank": rank, "world_size": expected}
    state = PartialState(cpu=on_cpu, backend=backend, timeout=timedelta(minutes=timeout_minutes), **group)
    if state.num_processes != expected or not dist.is_initialized():
        raise RuntimeError(f"WORLD_SIZE={expected}, but the group has {state.num_processes} processes")
    return Process(state.process_index, state.num_processes, state.local_process_index, state.device)


def stop_process() -> None:
    """Leaves the group in good order."""
    if dist.is_initialized():  # DeepSpeed has one also for a single process
        dist.destroy_process_group()


def from_first(value: Value, process: Process) -> Value:
    """Rank 0's `value`, on every rank."""
    if process.world_size == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0, device=process.device)
    return box[0]


def from_all(value: Value, process: Process) -> list[Value]:
    """Every rank's `value`, in the order of ranks, on every rank, once all have come here."""
    if process.world_size == 1:
        return [value]
    boxes: list[Value] = [value] * process.world_size
    dist.all_gather_object(boxes, value)
    return boxes
