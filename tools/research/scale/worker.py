"""One of two ranks whose steps and exchanges are measured; `tools/research/scale/measuring.py` starts it."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist

from launch.assembly.fitting import Still
from launch.assembly.operations import use_operations
from launch.assembly.trainer import assemble, family_of
from pipeline.config.load import load_config
from pipeline.contracts import ImageSpec, Process
from pipeline.engines.process import start_process, stop_process
from pipeline.training.trainer import Trainer
from pipeline.words import keep_quiet
from tools.research.scale.counting import NoData

SMALL, LARGE = 1 << 10, 1 << 22  # bytes: of latency, and of bandwidth
_AGAIN = 10  # exchanges of each a round: one alone waits for whoever comes late


def main(config: str, side: int, classes: int, steps: int, out: Path) -> None:
    """Writes {"alone": s, "together": s, "small": s, "large": s}: medians of one step without any exchange
    (both ranks at the same time, as they share the machine), of one with all, of a small and a large
    all-reduce."""
    torch.set_num_threads(1)
    process = start_process("cpu")
    use_operations("auto", process.device, tell=keep_quiet)
    one, two = (_trainer(config, side, classes, group) for group in (Process(), process))
    seconds: dict[str, list[float]] = {"alone": [], "together": [], "small": [], "large": []}
    small, large = torch.zeros(SMALL // 4), torch.zeros(LARGE // 4)
    acts: dict[str, Callable[[], object]] = {
        "alone": one.step,
        "together": two.step,
        "small": lambda: dist.all_reduce(small),
        "large": lambda: dist.all_reduce(large),
    }
    for number in range(steps + 1):
        for name, act in acts.items():
            for _ in range(1 if name in ("alone", "together") else _AGAIN):
                for trainer in (one, two):
                    trainer.progress.step = 1  # only phases that come in every step
                dist.barrier()
                begun = time.perf_counter()
                act()
                if number:
                    seconds[name].append(time.perf_counter() - begun)
    if process.is_first:
        out.write_text(json.dumps({name: statistics.median(values) for name, values in seconds.items()}))
    stop_process()


def _trainer(path: str, side: int, classes: int, process: Process) -> Trainer:
    """A run with half of the configuration's batch on this rank, whatever the group."""
    config = load_config(Path(path), [])
    spec = ImageSpec(side, side, 3, classes)
    family = family_of(config, spec)
    stage = family.schedule.at(10**12)
    mine = config.batch.size // 2
    family.schedule = Still(replace(stage, batch_size=mine * process.world_size))
    return assemble(family, process, stream=NoData(spec, mine))


if __name__ == "__main__":
    side, classes, steps = map(int, sys.argv[2:5])
    main(sys.argv[1], side, classes, steps, Path(sys.argv[5]))
