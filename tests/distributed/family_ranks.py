"""One rank that trains every tiny family for some steps over gloo and writes what each ended with."""

from __future__ import annotations

import sys

import torch

from pipeline.engines.process import start_process, stop_process
from pipeline.models.registry import FAMILIES
from pipeline.training.state import take
from tests.tiny_families import tiny_family, tiny_trainer


def main(out: str, steps: int) -> None:
    torch.set_num_threads(1)
    process = start_process("cpu")
    found = {}
    for name in sorted(FAMILIES):
        trainer = tiny_trainer(tiny_family(name), process=process)
        for _ in range(steps):
            trainer.step()
        found |= {f"{name}/{g}/{k}": v for g, tensors in take(trainer).items() for k, v in tensors.items()}
    torch.save(found, f"{out}/world{process.world_size}-rank{process.rank}.pt")
    stop_process()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
