"""One rank of a toy run: trains some steps on CPU over gloo, then writes what it ended with."""

from __future__ import annotations

import sys

import torch

from pipeline.engines.process import from_first, start_process, stop_process
from pipeline.engines.replicated import Replicated
from pipeline.training.state import take
from tests.toy import toy_trainer


def main(out: str, steps: int, nan_rank: int) -> None:
    torch.set_num_threads(1)
    process = start_process("cpu")
    assert process.device.type == "cpu"
    trainer = toy_trainer(engine=Replicated(process))
    engine = trainer.engine
    assert from_first(process.rank, process) == 0
    assert engine.any(process.rank == process.world_size - 1)
    assert not engine.any(False)
    mean = engine.mean({"b": torch.tensor([1.0, 2.0]) * process.rank, "a": torch.tensor(float(process.rank))})
    middle = (process.world_size - 1) / 2
    assert mean["a"] == middle
    assert mean["b"].tolist() == [middle, 2 * middle]

    for step in range(steps):
        trainer.stream.factor = float("nan") if process.rank == nan_rank and step == 2 else 1.0
        trainer.wants_stop = process.rank == 1 and step == steps - 1
        trainer.step()
    result = {f"{g}/{n}": v for g, tensors in take(trainer).items() for n, v in tensors.items()}
    result["stop_votes"] = trainer.stop_votes
    result["figures"] = trainer.meters.flush()
    torch.save(result, f"{out}/world{process.world_size}-rank{process.rank}.pt")
    stop_process()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
