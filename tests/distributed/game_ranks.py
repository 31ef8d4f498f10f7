"""One rank that trains each of the toys of the game for a step over gloo and writes what it ended with."""

from __future__ import annotations

import sys

import torch

from pipeline.engines.process import start_process, stop_process
from pipeline.training.state import take
from tests.game_toys import TOYS, toy_family
from tests.tiny_families import tiny_trainer


def main(out: str) -> None:
    torch.set_num_threads(1)
    process = start_process("cpu")
    found = {}
    for name in TOYS:
        trainer = tiny_trainer(toy_family(name), process=process)
        trainer.step()
        groups = take(trainer)
        found |= {f"{name}/{g}/{k}": v for g, tensors in groups.items() for k, v in tensors.items()}
    torch.save(found, f"{out}/world{process.world_size}-rank{process.rank}.pt")
    stop_process()


if __name__ == "__main__":
    main(sys.argv[1])
