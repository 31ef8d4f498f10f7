"""What there is to train with."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

GIB = 2**30


@dataclass(frozen=True)
class Equipment:
    """gpus: names of the GPUs; gpu_gib: memory of the smallest. cores: those that this process may use.
    memory_gib: of the machine. free_gib: of the disk. slurm: whether jobs can be submitted here."""

    gpus: tuple[str, ...]
    gpu_gib: float
    cores: int
    memory_gib: float
    free_gib: float
    slurm: bool

    def lines(self) -> Iterator[str]:
        """For people."""
        if self.gpus:
            yield f"{len(self.gpus)} x {self.gpus[0]}, {self.gpu_gib:.0f} GiB each"
        else:
            yield "no GPU"
        yield (
            f"{self.cores} cores, {self.memory_gib:.0f} GiB of memory, {self.free_gib:.0f} GiB free on the "
            "disk" + (", SLURM" if self.slurm else "")
        )


def equipment(folder: Path) -> Equipment:
    """Of this machine; folder: where the data set and the run will lie."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    cards = [torch.cuda.get_device_properties(number) for number in range(count)]
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return Equipment(
        tuple(card.name for card in cards),
        min((card.total_memory / GIB for card in cards), default=0.0),
        len(os.sched_getaffinity(0)),
        pages / GIB,
        shutil.disk_usage(there).free / GIB,
        shutil.which("sbatch") is not None,
    )
