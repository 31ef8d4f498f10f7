"""One rank that trains every tiny family for some steps over gloo and writes what each ended with."""

from __future__ import annotations

import sys

import torch

from pipeline.engines.process import start_process, stop_process
from pipeline.models.layers import recompute_blocks
from pipeline.models.registry import FAMILIES
from pipeline.training.state import take
from tests.tiny_families import tiny_family, tiny_trainer
from tools.torture.matrix_ranks import make_engine


def main(out: str, steps: int, kinds: tuple[str, ...]) -> None:
    torch.set_num_threads(1)
    process = start_process("cpu")
    for kind in kinds:
        found = {}
        for name in sorted(FAMILIES):
            chosen = make_engine(kind.removesuffix("+recompute"), process)
            trainer = tiny_trainer(tiny_family(name), engine=chosen)
            if kind.endswith("+recompute"):
                for network in (trainer.networks.generator, trainer.networks.discriminator):
                    recompute_blocks(network)
            for _ in range(steps):
                trainer.step()
            groups = take(trainer)
            found |= {f"{name}/{g}/{k}": v for g, tensors in groups.items() for k, v in tensors.items()}
        torch.save(found, f"{out}/{kind}-world{process.world_size}-rank{process.rank}.pt")
    stop_process()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), tuple(sys.argv[3:]))
