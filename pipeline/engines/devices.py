"""Chooses this process's GPU, by the same rule under every launcher, and names GPUs so that they can be told
apart."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import UserError

_BOOT = Path("/proc/sys/kernel/random/boot_id")


def own_device(local_rank: int) -> torch.device:
    """Returns the GPU of the process `local_rank` of its machine, chosen among those that it sees, and makes
    it torch's current one."""
    device = torch.device("cuda", own_index(torch.cuda.device_count(), local_rank))
    torch.cuda.set_device(device)
    return device


def own_index(visible: int, local_rank: int) -> int:
    """Returns which of `visible` GPUs to use.

    Most launchers show all GPUs of a machine to every process, and the local rank chooses. If each process
    sees only its own (srun --gpus-per-task=1, CUDA_VISIBLE_DEVICES, a MIG part), there is nothing to choose,
    whatever its local rank. `Meeting` raises an error if two processes use one GPU.
    """
    return local_rank % visible


def gpu_name(device: torch.device) -> str:
    """Returns host, boot and position on the bus, by which NCCL tells GPUs apart as well; it is the same for
    all MIG parts of a card."""
    card: Any = torch.cuda.get_device_properties(device)
    place = f"{card.pci_domain_id:04x}:{card.pci_bus_id:02x}:{card.pci_device_id:02x}"
    boot = ""
    with suppress(OSError):  # not Linux
        boot = _BOOT.read_text().strip()
    return f"{socket.gethostname()} {boot} {place}"


def check_processes(count: int, *, on_cpu: bool) -> None:
    """Raises UserError if `count` processes of one run on this machine would have to share GPUs."""
    visible = 0 if on_cpu else torch.cuda.device_count()
    if 0 < visible < count:
        raise UserError(
            f"--processes {count}: {visible} GPU{'s are' if visible > 1 else ' is'} visible on "
            f"{socket.gethostname()}, and processes of one run cannot share one; allowed: "
            f"{f'up to {visible}' if visible > 1 else 'one process'}, or engine.device=cpu"
        )
