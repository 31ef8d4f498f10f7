"""How far TF32 and bfloat16 move the gradients of each phase, emulated on a CPU.

    python -m tools.research.gradient_error [CONFIG ...] [--resolution 64] [--batch 8] [--steps 4] [--set K=V]

Each configuration is trained in float32 for a few steps on drawn faces. Then every phase's gradient of one
batch is computed in float32, with `tools.research.tf32`'s rounded products, with
`engine.precision=bfloat16`, and with weights moved in their last bit, about as much as another order of
sums does. Differences are relative to the gradient in float32: of the whole vector, and of the tensor that
is worst. Beside them: how far away the gradient of another batch is,
which training takes for the same.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import ops
from launch.assembly.trainer import assemble
from pipeline.config.load import load_config
from pipeline.config.run import DataConfig, RunConfig
from pipeline.config.shipped import shipped
from pipeline.contracts import Batch, Family, ImageSpec, Networks, Phase, Process
from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from pipeline.data.shards.index import ShardIndex
from pipeline.data.streaming.stream import ImageStream
from pipeline.errors import UserError
from pipeline.models.registry import build_family, low_precision_of
from pipeline.randomness import SampleRandomness, seed_everything
from pipeline.training.trainer import only_trainable
from tools.bench.families import FixedBatch
from tools.bench.machine import write_rows
from tools.research.tf32 import Tf32

_GROWN = 10**9  # images seen: every schedule has ended
_DEFAULT = {"stylegan2-256.yaml": 0, "progan-1024.yaml": 0, "r3gan-ffhq-64.yaml": 0, "biggan-128.yaml": 10}
"""Configuration -> classes that its images are given."""
Gradient = dict[str, Tensor]


class Faces:
    """Batches of drawn faces, again and again."""

    damaged = retries = 0

    def __init__(self, resolution: int, batch: int, classes: int, count: int = 8) -> None:
        with tempfile.TemporaryDirectory() as folder:
            prepare("demo:faces", folder, Asked(resolution=resolution, count=count * batch))
            index, data = ShardIndex.read(folder), DataConfig(workers=0, lanes=1)
            alone = Process()
            with ImageStream(index, data, seed=0, process=alone, images_seen=0, labels=False) as stream:
                drawn = stream.draw(batch, count)
        labels = torch.arange(batch) % classes if classes else None
        self._batches = [Batch(reals.images, labels) for reals in drawn]
        self._next = 0

    @property
    def others(self) -> Faces:
        return self

    def draw(self, batch_size: int, times: int = 1, *, resolution: int | None = None) -> list[Batch]:
        self._next += times
        return [self._batches[n % len(self._batches)] for n in range(self._next - times, self._next)]


@dataclass(frozen=True)
class Trained:
    """A configuration after some steps, and what it sees next."""

    config: RunConfig
    spec: ImageSpec
    family: Family
    networks: Networks
    reals: Sequence[Batch]

    def gradient(self, phase: str, batch: int = 0) -> Gradient:
        """Returns the gradient of the phase's loss, by parameter, in float32."""
        return gradient_of(self.family, self.networks, phase, self.reals[batch], batch)

    def in_bfloat16(self, phase: str) -> Gradient | None:
        """The same with low-precision blocks in bfloat16; None where the family has none."""
        batch = len(self.reals[0])
        low = low_precision_of("bfloat16")
        try:
            family = build_family(self.config.family, self.spec, batch_size=batch, low_precision=low)
        except UserError:
            return None
        networks = family.networks()
        for net, module in networks.items():
            module.load_state_dict(self.networks[net].state_dict())
        family.memory.load_state_dict(self.family.memory.state_dict())
        return gradient_of(family, networks, phase, self.reals[0], 0)


def trained(config: RunConfig, classes: int, resolution: int, batch: int, steps: int) -> Trained:
    """The configuration's networks after `steps` steps on faces."""
    spec = ImageSpec(resolution, resolution, 3, classes)
    family = build_family(config.family, spec, batch_size=batch)
    family.schedule = FixedBatch(family.schedule, batch)
    seed_everything(0)
    networks = family.networks()
    faces = Faces(resolution, batch, spec.classes)
    trainer = assemble(family, networks=networks, stream=faces)
    for step in range(steps):
        trainer.progress.step, trainer.progress.images_seen = step, _GROWN
        trainer.step()
    return Trained(config, spec, family, networks, faces.draw(batch, 2))


def gradient_of(family: Family, networks: Networks, name: str, reals: Batch, seed: int) -> Gradient:
    """What one turn of the phase `name` gives the network that it trains."""
    (phase,) = (phase for phase in family.phases if phase.name == name)
    with only_trainable(networks, phase), unchanged(networks):
        randomness = SampleRandomness([len(reals) * seed + n for n in range(len(reals))])
        game = family.game(networks, family.schedule.at(_GROWN), randomness)
        loss = phase.objective(game, game.present(reals)).loss.mean()
        named = [(n, p) for n, p in networks[phase.trains].named_parameters() if p.requires_grad]
        gradients = torch.autograd.grad(loss, [p for _, p in named], allow_unused=True)
    return {n: g for (n, _), g in zip(named, gradients, strict=True) if g is not None}


@contextmanager
def unchanged(networks: Networks) -> Iterator[None]:
    """Puts buffers back that a pass moves (spectral and batch normalisation)."""
    kept = [(buffer, buffer.clone()) for _, module in networks.items() for buffer in module.buffers()]
    try:
        yield
    finally:
        for buffer, value in kept:
            buffer.copy_(value)


@contextmanager
def last_bit_moved(networks: Networks) -> Iterator[None]:
    """Every weight one step further from zero."""
    parameters = [p for _, module in networks.items() for p in module.parameters()]
    kept = [parameter.detach().clone() for parameter in parameters]
    for parameter in parameters:
        parameter.data = torch.nextafter(parameter.data, parameter.data * 2)
    try:
        yield
    finally:
        for parameter, value in zip(parameters, kept, strict=True):
            parameter.data = value


def difference(moved: Gradient | None, true: Gradient) -> tuple[float, float] | None:
    """Returns the differences of the whole vector, and of the worst tensor that holds a millionth of its
    squared length."""
    if moved is None:
        return None
    squares = {name: float(value.double().square().sum()) for name, value in true.items()}
    apart = {name: float((moved[name] - value).double().square().sum()) for name, value in true.items()}
    total = sum(squares.values())
    worst = max(apart[name] / squares[name] for name in true if squares[name] > 1e-6 * total)
    return (sum(apart.values()) / total) ** 0.5, worst**0.5


def rows(case: Trained) -> Iterator[dict[str, Any]]:
    """A row a phase."""
    for phase in case.family.phases:
        true = case.gradient(phase.name)
        yield {
            "family": case.config.family.name,
            "phase": phase.name,
            "exact": phase.exact,
            "tf32": difference(_within(Tf32(), case, phase), true),  # type: ignore[no-untyped-call]
            "bfloat16": difference(case.in_bfloat16(phase.name), true),
            "last_bit": difference(_within(last_bit_moved(case.networks), case, phase), true),
            "another_batch": difference(case.gradient(phase.name, 1), true),
        }


def _within(change: AbstractContextManager[Any], case: Trained, phase: Phase) -> Gradient:
    with change:
        return case.gradient(phase.name)


def shown(row: dict[str, Any]) -> str:
    """A line of the table."""
    kinds = ("tf32", "bfloat16", "last_bit", "another_batch")
    cells = ["-" if row[k] is None else "{:.0e}, {:.0e}".format(*row[k]) for k in kinds]
    name = f"{row['family']} {row['phase']}{' (exact)' if row['exact'] else ''}"
    return f"| {name} | {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a table: whole vector, worst tensor."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("configs", nargs="*", type=Path, help="configurations; one of each family if none")
    parser.add_argument("--resolution", type=int, default=64, help="pixels a side")
    parser.add_argument("--batch", type=int, default=8, help="images a step")
    parser.add_argument("--steps", type=int, default=4, help="of training before")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override, repeatable"
    )
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args(arguments)
    table = []
    print("| phase | TF32 | bfloat16 | last bit | another batch |\n|---|---|---|---|---|")
    for path in options.configs or list(map(shipped, _DEFAULT)):
        config = load_config(path, [*options.set, "batch.micro=null"])
        classes = _DEFAULT.get(path.name, 0)
        ops.use("auto", devices=("cpu",))
        case = trained(config, classes, options.resolution, options.batch, options.steps)
        ops.use("reference")  # whose convolutions and products are torch's
        for row in rows(case):
            print(shown(row), flush=True)
            table.append(row)
    write_rows(options.json, table)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
