"""R1 and R2 by finite differences beside the exact ones, over a training run, and what rounding adds to them.

    python -m tools.research.penalties [CONFIG ...] [--data SHARDS] [--steps 200] [--every 50] [--set K=V]

Each configuration is trained in float32, on drawn faces unless there are shards. At every so many steps
|grad D|^2 of one batch of reals and one of fakes, each through one augmentation, is computed exactly and by
finite differences along the same directions: in float32, with `tools.research.tf32`'s rounded products, and
with `engine.precision=bfloat16`. Figures are means over the batch, and those by differences are given in
multiples of the exact one. What rounding changes in a logit is divided by the step and squared: it adds.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import ops
from launch.assembly.trainer import assemble
from pipeline.config.load import load_config
from pipeline.config.run import DataConfig, RunConfig
from pipeline.config.shipped import shipped
from pipeline.contracts import Batch, Family, ImageSpec, Networks, Process
from pipeline.data.shards.index import ShardIndex
from pipeline.data.streaming.stream import ImageStream
from pipeline.errors import UserError
from pipeline.losses import Exact, FiniteDifferences, Slopes
from pipeline.losses.slopes import Side
from pipeline.models.registry import build_family, low_precision_of
from pipeline.randomness import SampleRandomness, seed_everything
from pipeline.training.trainer import Stream, Trainer
from tools.bench.families import FixedBatch
from tools.bench.machine import write_rows
from tools.research.gradient_error import Faces, unchanged
from tools.research.tf32 import Tf32

_DEFAULT = ("r3gan-32.yaml", "stylegan2-32.yaml", "biggan-32.yaml")
_SIDES: tuple[tuple[Side, str], ...] = (("reals", "r1"), ("fakes", "r2"))
_PRECISIONS = ("float32", "tf32", "bfloat16")
_CHECKED = 16  # the most images that figures are means over


@dataclass(frozen=True)
class Case:
    """A configuration in training. low: the same family with low-precision blocks, and networks of it; None
    if it has none."""

    trainer: Trainer
    low: tuple[Family, Networks] | None

    def rows(self, reals: Batch, moves: Sequence[float], directions: int) -> Iterator[dict[str, Any]]:
        """A row for each side and each step of the differences."""
        full = self.trainer.family, self.trainer.networks
        if self.low is not None:
            _copy(*full, *self.low)
        for side, name in _SIDES:
            exact = self._mean(*full, Exact(), reals, side)
            for move in moves:
                slopes = FiniteDifferences(move, directions)
                loose = Tf32()  # type: ignore[no-untyped-call]
                yield {
                    "family": type(full[0]).__name__,
                    "images": self.trainer.progress.images_seen,
                    "penalty": name,
                    "exact": exact,
                    "step": move,
                    "float32": self._mean(*full, slopes, reals, side) / exact,
                    "tf32": self._mean(*full, slopes, reals, side, loose) / exact,
                    "bfloat16": self._mean(*self.low, slopes, reals, side) / exact if self.low else None,
                }

    def _mean(
        self,
        family: Family,
        networks: Networks,
        slopes: Slopes,
        reals: Batch,
        side: Side,
        within: AbstractContextManager[Any] | None = None,
    ) -> float:
        stage = self.trainer.family.schedule.at(self.trainer.progress.images_seen)
        with unchanged(networks), within or nullcontext(), torch.set_grad_enabled(slopes.exact):
            game = family.game(networks, stage, SampleRandomness(range(len(reals))), reals)
            return float(slopes.of(game, game.present(reals), side).detach().mean())


def _copy(family: Family, networks: Networks, to: Family, into: Networks) -> None:
    for net, module in networks.items():
        into[net].load_state_dict(module.state_dict())
    to.memory.load_state_dict(family.memory.state_dict())


def case_of(config: RunConfig, spec: ImageSpec, stream: Stream) -> Case:
    """The configuration before its first step."""
    size = config.batch.size
    family = build_family(config.family, spec, batch_size=size)
    family.schedule = FixedBatch(family.schedule, size)
    seed_everything(0)
    trainer = assemble(family, stream=stream)
    try:
        low = build_family(config.family, spec, batch_size=size, low_precision=low_precision_of("bfloat16"))
    except UserError:
        return Case(trainer, None)
    return Case(trainer, (low, low.networks()))


@contextmanager
def _reals(data: Path | None, config: RunConfig) -> Iterator[tuple[ImageSpec, Stream]]:
    """What is trained on, in an endless stream."""
    if data is None:
        side = config.data.resolution or 32
        yield ImageSpec(side, side, 3), Faces(side, config.batch.size, 0)
        return
    index = ShardIndex.read(data)
    settings = DataConfig(workers=0, lanes=1, mirror=config.data.mirror)
    with ImageStream(index, settings, seed=0, process=Process(), images_seen=0, labels=True) as stream:
        yield index.spec, stream


def measured(options: argparse.Namespace, path: Path) -> Iterator[dict[str, Any]]:
    """The rows of one configuration."""
    config = load_config(path, [*options.set, "batch.micro=null"])
    with _reals(options.data, config) as (spec, stream):
        ops.use("auto", devices=("cpu",))
        case = case_of(config, spec, stream)
        (reals,) = stream.draw(config.batch.size)
        reals = reals.map(lambda tensor: tensor[:_CHECKED])
        for step in range(options.steps + 1):
            if step % options.every == 0:
                ops.use("reference")  # whose convolutions and products are torch's
                yield from case.rows(reals, options.moves, options.directions)
                ops.use("auto", devices=("cpu",))
            if step < options.steps:
                case.trainer.step()


def shown(row: dict[str, Any]) -> str:
    """A line of the table."""
    cells = ["-" if row[kind] is None else f"{row[kind]:.3f}" for kind in _PRECISIONS]
    name = f"{row['family']} | {row['images']:,} | {row['penalty']}"
    return f"| {name} | {row['exact']:.3g} | {row['step']:g} | {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("configs", nargs="*", type=Path, help="configurations; three small ones if none")
    parser.add_argument("--data", type=Path, help="shards to train on")
    parser.add_argument("--steps", type=int, default=200, help="of training")
    parser.add_argument("--every", type=int, default=50, help="steps from one comparison to the next")
    parser.add_argument("--moves", type=float, nargs="+", default=[0.01, 0.1], help="penalty_step")
    parser.add_argument("--directions", type=int, default=32, help="that are averaged")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override, repeatable"
    )
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args(arguments)
    table = []
    print(f"| family | images | penalty | exact | step | {' | '.join(_PRECISIONS)} |\n{'|---' * 8}|")
    for path in options.configs or list(map(shipped, _DEFAULT)):
        for row in measured(options, path):
            print(shown(row), flush=True)
            table.append(row)
    write_rows(options.json, table)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
