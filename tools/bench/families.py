"""Seconds and memory of one iteration of each family, and of one generated image.

Every phase is timed by itself, as often as `--rounds` says, and counted as often as it comes: s/kimg is what
1,000 real images cost over a whole cycle of lazy phases. Each configuration runs in a process of its own, so
that its peak memory is its own: resident memory on a CPU, allocated memory on a GPU. So does a peer, another
project's code at the same settings, which stands below it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from launch.assembly.fitting import Noise
from launch.assembly.operations import use_operations
from launch.assembly.precision import with_computed_precision
from launch.assembly.trainer import assemble, family_of
from pipeline.config.load import load_config
from pipeline.config.run import RunConfig
from pipeline.config.shipped import shipped
from pipeline.contracts import Batch, Family, ImageSpec, Phase, Process, Schedule, Stage
from pipeline.errors import UserError
from pipeline.float32 import full_float32
from pipeline.kernels import choose_kernels
from pipeline.models.auto import with_auto_settings
from pipeline.training.meters import peak_gib
from tools.bench.budget import Budget, add_minutes
from tools.bench.machine import write_rows
from tools.bench.timing import wait
from tools.research.peers import PEERS, PHASES, Peer, find_peer, load_peer

Row = dict[str, Any]
_GROWN = 10**9  # images seen: every schedule has ended
_DEFAULT = {
    "stylegan2-256.yaml": 0,
    "progan-1024.yaml": 0,
    "biggan-128.yaml": 1000,
    "biggan-deep-128.yaml": 1000,
    "r3gan-ffhq-256.yaml": 0,
    "dcgan-64.yaml": 0,
}
"""Configuration -> classes of the data that it is meant for."""


@dataclass(frozen=True)
class FixedBatch:
    """A family's schedule with the batch size that was asked for."""

    schedule: Schedule
    batch: int

    def at(self, images_seen: int) -> Stage:
        return replace(self.schedule.at(images_seen), batch_size=self.batch)

    def batch_sizes(self) -> tuple[int, ...]:
        return (self.batch,)


class NoiseStream:
    """Returns the same random images, which are already on the device, at every draw."""

    damaged = retries = 0

    def __init__(self, spec: ImageSpec, batch: int, device: torch.device, *, second: bool = False) -> None:
        (self.batch,) = Noise(spec, device, second=second).draw(batch)

    @property
    def others(self) -> NoiseStream:
        return self

    def draw(self, batch_size: int, times: int = 1, *, resolution: int | None = None) -> list[Batch]:
        return [self.batch] * times


class Clock:
    """Records the seconds of every turn, by phase; for `Trainer.around`."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.seconds: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def __call__(self, phase: Phase) -> Iterator[None]:
        start = self._now()
        yield
        self.seconds[phase.name].append(self._now() - start)

    def _now(self) -> float:
        wait(self._device)
        return time.perf_counter()


def measure(path: Path, options: argparse.Namespace) -> Row:
    """Measures one configuration, or a peer with its settings, and returns a row of figures."""
    sizes = [f"batch.size={options.batch}", f"batch.micro={options.micro or 'null'}"]
    config = load_config(path, [*options.set, *sizes])
    spec = ImageSpec(options.resolution, options.resolution, 3, options.classes)
    config = with_auto_settings(config, spec)
    device = torch.device(options.device)
    full_float32()
    choose_kernels()
    config = with_computed_precision(config, Process(device=device), lambda line: None)
    if options.peer:
        return measure_peer(options.peer[0], config, spec, options)
    use_operations("auto", device)
    return (
        measure_generator(config, spec, options) if options.generate else measure_ours(config, spec, options)
    )


def measure_ours(config: RunConfig, spec: ImageSpec, options: argparse.Namespace) -> Row:
    """The row of a configuration."""
    device = torch.device(options.device)
    family = family_of(config, spec)
    family.schedule = FixedBatch(family.schedule, options.batch)
    trainer = assemble(
        family,
        Process(device=device),
        micro=options.micro,
        settings=config.engine.model_copy(update={"graphs": "off"}),
        stream=NoiseStream(spec, options.batch, device, second=family.needs.second),
    )
    trainer.around = clock = Clock(device)
    step, rounds = time.perf_counter(), 0
    while not rounds or (rounds < options.rounds and time.perf_counter() - step < options.seconds):
        rounds += 1
        trainer.progress.step, trainer.progress.images_seen = 0, _GROWN  # every lazy phase is due
        trainer.step()
    trainer.meters.flush()
    step = (time.perf_counter() - step) / rounds
    row = figures(family, clock.seconds, options.batch)
    training_peak = peak_gib(device)
    image = generation_seconds(family, trainer.averager.average)
    tf32 = f", TF32 {config.engine.tf32}" if device.type == "cuda" else ""
    recomputed = ", recomputed" if config.engine.recompute == "blocks" else ""
    return {
        "op": f"iteration, {config.family.name}",
        "size": f"{options.resolution}px batch {options.batch} {config.engine.computed}{tf32}{recomputed}",
        "mode": "fwd+bwd",
        "ms": 1e3 * step,
        **row,
        "peak_gib": training_peak,
        "image_seconds": image,
        "parameters": {net: sum(p.numel() for p in m.parameters()) for net, m in trainer.networks.items()},
    }


def measure_generator(config: RunConfig, spec: ImageSpec, options: argparse.Namespace) -> Row:
    """The row of a generator alone."""
    device = torch.device(options.device)
    family = family_of(config, spec)
    seconds = generation_seconds(family, family.networks().generator.to(device))
    return image_row(config, options, seconds, peak_gib(device))


def image_row(config: RunConfig, options: argparse.Namespace, seconds: float, peak: float) -> Row:
    """The row of an image."""
    return {
        "op": f"image, {config.family.name}",
        "size": f"{options.resolution}px float32",
        "mode": "fwd",
        "ms": 1e3 * seconds,
        "image_seconds": seconds,
        "peak_gib": peak,
    }


def measure_peer(argument: str, config: RunConfig, spec: ImageSpec, options: argparse.Namespace) -> Row:
    """The row of a peer: the same phases of the same networks on the same images, in float32, with a whole
    batch at once. Errors: UserError if it has no such family."""
    peer = load_peer(argument, options.device)
    if not peer.trains or not isinstance(config.family, peer.family) or spec.classes:
        raise UserError(f"--peer {peer.name}: trains no {config.family.name} of {spec.classes} classes")
    device = torch.device(options.device)
    if options.generate:
        seconds = peer_generation_seconds(peer, config, spec, device)
        return {**image_row(config, options, seconds, peak_gib(device)), "peer": peer.name}
    images = NoiseStream(spec, options.batch, device).batch.images
    theirs, clock = peer.training(config.family, images), Clock(device)
    family = family_of(config, spec)
    begin, rounds = time.perf_counter(), 0
    while not rounds or (rounds < options.rounds and time.perf_counter() - begin < options.seconds):
        rounds += 1
        for phase in family.phases:
            with clock(phase):
                theirs[PHASES[phase.name]]()
    step, training_peak = (time.perf_counter() - begin) / rounds, peak_gib(device)
    del theirs
    return {
        "op": f"iteration, {config.family.name}",
        "size": f"{options.resolution}px batch {options.batch} float32",
        "mode": "fwd+bwd",
        "peer": peer.name,
        "ms": 1e3 * step,
        **figures(family, clock.seconds, options.batch),
        "peak_gib": training_peak,
        "image_seconds": peer_generation_seconds(peer, config, spec, device),
    }


@torch.inference_mode()
def peer_generation_seconds(peer: Peer, config: RunConfig, spec: ImageSpec, device: torch.device) -> float:
    """Returns the seconds of one image by the first of the peer's forms, as `generation_seconds`."""
    family: Any = config.family
    form, *_ = peer.forms("generator", {"config": family, "resolution": spec.height}).values()
    z = torch.randn(1, family.z_dim, device=device)
    form(z)
    begin = time.perf_counter()
    form(z).cpu()
    return time.perf_counter() - begin


def figures(family: Family, seconds: Mapping[str, list[float]], batch: int) -> Row:
    """Returns the median seconds of each phase, and the cost of 1,000 images over a cycle of lazy phases."""
    phases = {name: statistics.median(values) for name, values in seconds.items()}
    step = sum(phases[p.name] * p.repeats / p.every for p in family.phases)
    images = batch * max(p.repeats for p in family.phases)
    return {"phases_seconds": phases, "seconds_per_kimg": 1000 * step / images}


@torch.no_grad()
def generation_seconds(family: Family, generator: torch.nn.Module) -> float:
    """Returns the seconds of one image. The first image, for which statistics may be prepared, is not
    counted."""
    sampler = family.sampler(generator)
    classes = [0] if family.spec.classes else None
    sampler.draw([0], classes=classes)
    start = time.perf_counter()
    sampler.draw([1], classes=classes).images.cpu()
    return time.perf_counter() - start


def in_own_process(path: Path, arguments: Sequence[str], seconds: float) -> Row | None:
    """Returns the row of a worker process; None, with its last output, if it failed. Raises TimeoutExpired if
    it takes too long."""
    command = [sys.executable, "-m", "tools.bench.families", "--worker", *arguments, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds)
    if done.returncode:
        last, *_ = [*reversed(done.stderr.strip().splitlines()), f"exit code {done.returncode}"]
        killed = f"killed by signal {-done.returncode}, as for want of memory"
        print(f"{path.stem:20} failed: {killed if done.returncode < 0 else last}", flush=True)
        return None
    row: Row = json.loads(done.stdout.splitlines()[-1])
    return row


def named(path: Path, peer: str) -> str:
    """What a row is called."""
    return ", ".join(filter(None, (path.stem, peer.partition("=")[0])))


def show(name: str, row: Row, ours: Row | None = None) -> None:
    """Prints one line for a configuration; for a peer also how many times faster `ours` is."""
    cells = [f"{name:20} {row['size']:28}"]
    if "phases_seconds" in row:
        phases = ", ".join(f"{name} {seconds:.3g}" for name, seconds in row["phases_seconds"].items())
        cells += [f"{row['seconds_per_kimg']:9.1f} s/kimg", f"phases (s): {phases}"]
    cells[1:1] = [f"{row['peak_gib']:7.2f} GiB", f"image {row['image_seconds']:.3g} s"]
    if ours is not None:
        of = {"step": "seconds_per_kimg", "image": "image_seconds"}
        times = [f"{what} {row[key] / ours[key]:.2f} times" for what, key in of.items() if key in row]
        cells.append(f"ours is faster: {', '.join(times)}")
    print("  ".join(cells), flush=True)


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    built = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    built.add_argument("configs", nargs="*", type=Path, help="configurations; one of each family if none")
    built.add_argument("--resolution", type=int, default=128, help="pixels a side")
    built.add_argument("--batch", type=int, default=8, help="images a step")
    built.add_argument("--micro", type=int, help="most images in memory at once")
    built.add_argument("--rounds", type=int, default=3, help="times of each phase")
    built.add_argument("--classes", type=int, help="of the data; those a configuration is meant for")
    built.add_argument("--generate", action="store_true", help="generators alone")
    built.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    built.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override, repeatable")
    built.add_argument("--peer", action="append", default=[], metavar="NAME=CHECKOUT",
        help=f"beside it this checkout; may be repeated; names: {', '.join(PEERS)}")  # fmt: skip
    built.add_argument("--json", type=Path, help="write the rows here")
    add_minutes(built, 4)
    built.add_argument("--seconds", type=float, default=float("inf"), help="after which no round begins")
    built.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return built


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a line per configuration. The exit code is 1 if one failed."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse_args(given)
    if options.worker:
        print(json.dumps(measure(options.configs[0], options)))
        return 0
    for peer in options.peer:
        find_peer(peer)
    paths = options.configs or list(map(shipped, _DEFAULT))
    passed = ["--resolution", str(options.resolution), "--batch", str(options.batch)]
    passed += ["--rounds", str(options.rounds), "--device", options.device]
    passed += ["--micro", str(options.micro)] if options.micro else []
    passed += ["--generate"] if options.generate else []
    passed += [word for value in options.set for word in ("--set", value)]
    entries = [(path, peer) for path in paths for peer in ("", *options.peer)]
    rows: dict[str, Row] = {}
    budget = Budget(options.minutes, [named(*entry) for entry in entries])
    failed = False
    for path, peer in entries:
        if not budget.begins(name := named(path, peer)):
            continue
        classes = _DEFAULT.get(path.name, 0) if options.classes is None else options.classes
        own = ["--seconds", str(budget.seconds()), "--classes", str(classes)]
        own += ["--peer", peer] if peer else []
        try:
            row = in_own_process(path, [*passed, *own], budget.remaining())
        except subprocess.TimeoutExpired:
            budget.leave_out(name, "not done in time")
            continue
        failed = failed or row is None
        if row is not None:
            show(name, row, rows.get(path.stem))
            rows[name] = row
    budget.report()
    write_rows(options.json, list(rows.values()))
    return int(failed)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
