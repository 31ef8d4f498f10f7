"""One rank of two: what a real step sends, and the bytes of what it holds, as JSON."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.distributed as dist

from launch.assembly.fitting import Still
from launch.assembly.trainer import assemble, family_of
from pipeline.config.load import load_config
from pipeline.contracts import ImageSpec, Networks
from pipeline.engines.process import start_process, stop_process
from pipeline.engines.replicated import Replicated
from pipeline.engines.zero import Zero
from pipeline.training.trainer import Trainer
from tools.research.scale.counting import NoData

SPEC = ImageSpec(16, 16, 3, 10)


def main(out: str, images: int, *configs: str) -> None:
    torch.set_num_threads(1)
    process = start_process("cpu")
    sizes: list[int] = []
    original = dist.all_reduce

    def noted(tensor, *arguments, **settings):
        sizes.append(tensor.numel() * tensor.element_size())
        return original(tensor, *arguments, **settings)

    found: dict[str, object] = defaultdict(dict)
    for name in configs:
        config = load_config(Path(name), [])
        engines = {"replicated": lambda: Replicated(process)}
        if name == configs[-1] and find_spec("deepspeed"):  # one is enough: it takes seconds to start
            engines |= {"zero1": lambda: Zero(process, 1), "zero2": lambda: Zero(process, 2)}
        for kind, make in engines.items():
            family = family_of(config, SPEC)
            family.schedule = Still(replace(family.schedule.at(0), batch_size=2 * images))
            engine = make()
            trainer = assemble(family, engine=engine, stream=NoData(SPEC, images))
            dist.all_reduce = noted
            sizes.clear()
            trainer.step()
            dist.all_reduce = original
            found[Path(name).name][kind] = {"sent": list(sizes), **held(trainer.networks, engine, trainer)}
    if process.is_first:
        Path(out).write_text(json.dumps(found))
    stop_process()


def held(networks: Networks, engine: Replicated | Zero, trainer: Trainer) -> dict[str, int]:
    """Bytes of weights, gradients, moments and average on this rank."""
    modules = [module for _, module in networks.items()]
    return {
        "weights": sum(size(t) for module in modules for t in module.state_dict().values()),
        "average": sum(size(t) for t in trainer.averager.average.state_dict().values()),
        "gradients": sum(size(p.grad) for m in modules for p in m.parameters() if p.grad is not None),
        "moments": sum(size(value) for value in moments(engine)),
    }


def moments(engine: Replicated | Zero) -> list[torch.Tensor]:
    players = engine._players.values()
    optimizers = [player.optimizer for player in players]
    states = [entry for optimizer in optimizers for entry in optimizer.state.values()]
    return [value for entry in states for name, value in entry.items() if name.startswith("exp_avg")]


def size(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
