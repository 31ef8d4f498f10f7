"""Training as `hrgan train` assembles it, without its loader: how fast, how large, where the host waits."""

from __future__ import annotations

import gc
import math
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from launch.assembly.operations import use_operations
from launch.assembly.trainer import assemble, family_of
from pipeline.config.load import load_config
from pipeline.config.run import EngineConfig
from pipeline.config.shipped import shipped
from pipeline.contracts import ImageSpec, Process
from pipeline.float32 import full_float32
from pipeline.kernels import choose_kernels
from pipeline.models.auto import with_auto_settings
from pipeline.training.meters import peak_gib
from pipeline.training.trainer import Trainer
from tools.bench.families import FixedBatch, NoiseStream
from tools.bench.timing import wait
from tools.gpu_check.step import Conditions, Figure, figure
from tools.tiny_families import BATCH, TINY, tiny_family, tiny_trainer

_WARM = 3  # steps
_GROWN = 10**9  # images seen: every schedule has ended, and every lazy phase is due
_SWITCHES: Mapping[str, Sequence[str]] = {"tf32": ("main", "off"), "graphs": ("auto", "off")}
"""Keys of `engine` whose values are compared, as far as the schema knows them; the first are the quickest."""


def full_size(conditions: Conditions) -> Iterator[Figure]:
    """Measures s/kimg over a whole cycle of lazy phases, and peak memory. sizes: runs (configuration,
    resolution, batch, further settings)."""
    for name, resolution, batch, overrides in conditions.sizes["runs"]:
        for switches in combinations():
            settings = [f"batch.size={batch}", *overrides, *switches]
            what = " ".join([f"{resolution}px batch {batch}", *overrides[:1], *switches])
            try:
                yield from _measured(what, trainer_of(name, resolution, settings, conditions.device), batch)
            except torch.OutOfMemoryError:
                yield figure(f"{what}: out of memory", batch, "images")
            release(conditions.device)


def combinations() -> list[list[str]]:
    """Returns overrides for every combination of the values of the switches in the schema."""
    overrides: list[list[str]] = [[]]
    for key, values in _SWITCHES.items():
        if key in EngineConfig.model_fields:
            overrides = [[*before, f"engine.{key}={value}"] for before in overrides for value in values]
    return overrides


def trainer_of(name: str, resolution: int, overrides: Sequence[str], device: torch.device) -> Trainer:
    """Returns a trainer of the configuration on random images that are already on the device."""
    config = load_config(shipped(name), list(overrides))
    spec = ImageSpec(resolution, resolution, 3)
    config = with_auto_settings(config, spec)
    use_operations("auto" if device.type == "cpu" else "native", device)
    full_float32()  # as a run begins; the trainer allows what `engine.tf32` allows
    choose_kernels()
    family = family_of(config, spec)
    family.schedule = FixedBatch(family.schedule, config.batch.size)
    assert config.batch.micro != "auto", "a check has batches that fit"
    return assemble(
        family,
        Process(device=device),
        seed=config.seed,
        micro=config.batch.micro,
        settings=config.engine,
        stream=NoiseStream(spec, config.batch.size, device, second=family.needs.second),
    )


def _measured(what: str, trainer: Trainer, batch: int) -> Iterator[Figure]:
    device = trainer.engine.process.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    cycle = math.lcm(*(phase.every for phase in trainer.family.phases))
    for _ in range(_WARM):
        begin(trainer)
        trainer.step()  # kernels are loaded, algorithms chosen, graphs captured
    wait(device)
    trainer.progress.step = 0
    began = time.perf_counter()
    for _ in range(cycle):
        trainer.step()
    host = time.perf_counter() - began
    trainer.meters.flush()
    wait(device)
    seconds = time.perf_counter() - began
    yield figure(what, 1e3 * seconds / (cycle * batch), "s/kimg", host_share=host / seconds)
    yield figure(what, peak_gib(device), "GiB")


def release(device: torch.device) -> None:
    """Frees what the last run held."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def begin(trainer: Trainer) -> None:
    """Moves the trainer to a step at which every phase is due, fully grown."""
    trainer.progress.step, trainer.progress.images_seen = 0, _GROWN


def syncs(conditions: Conditions) -> Iterator[Figure]:
    """Counts how often a step of each tiny family makes the host wait for the device, and where. sizes:
    steps."""
    device, steps = conditions.device, conditions.sizes["steps"]
    use_operations("auto" if device.type == "cpu" else "native", device)
    for name in sorted(TINY):
        trainer = tiny_trainer(tiny_family(name), process=Process(device=device))
        trainer.stream = NoiseStream(trainer.family.spec, BATCH, device, second=trainer.family.needs.second)
        begin(trainer)
        trainer.step()
        begin(trainer)
        places = waits_of(trainer, steps)
        yield figure(name, places.total() / steps, "waits a step", places=dict(places.most_common(5)))


def waits_of(trainer: Trainer, steps: int) -> Counter[str]:
    """Returns where torch saw the host wait in `steps` steps; a CPU never waits for itself."""
    cuda = trainer.engine.process.device.type == "cuda"
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        if cuda:
            torch.cuda.set_sync_debug_mode("warn")
        try:
            for _ in range(steps):
                trainer.step()
        finally:
            if cuda:
                torch.cuda.set_sync_debug_mode("default")
    warned = [one for one in seen if "synchroniz" in str(one.message)]
    return Counter(f"{Path(one.filename).name}:{one.lineno}" for one in warned)


def profile(conditions: Conditions) -> Iterator[Figure]:
    """The share of a step in which the device is busy, and the kernels that take longest. sizes: runs
    (configuration, resolution, batch, further settings)."""
    for name, resolution, batch, overrides in conditions.sizes["runs"]:
        trainer = trainer_of(name, resolution, [f"batch.size={batch}", *overrides], conditions.device)
        begin(trainer)
        trainer.step()
        trainer.step()  # of the main phases alone, as most are
        trainer.meters.flush()
        yield from _profiled(f"{resolution}px batch {batch}", trainer)
        del trainer
        release(conditions.device)


def _profiled(what: str, trainer: Trainer) -> Iterator[Figure]:
    device = trainer.engine.process.device
    cuda = device.type == "cuda"
    kinds = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA][: 1 + cuda]
    wait(device)
    with torch.profiler.profile(activities=kinds) as profiler:
        trainer.step()
        wait(device)
    # Kernels and copies, not the regions that someone named; on a CPU calls, which stand in each other.
    events: list[Any] = [
        one
        for one in profiler.events() or []
        if one.device_type.name == device.type.upper() and not one.is_user_annotation
    ]
    share, span = busy([(one.time_range.start, one.time_range.end) for one in events])
    yield figure(f"{what}: busy", 100 * share, "%", span_ms=span / 1e3, kernels=len(events))
    took, calls = Counter[str](), Counter[str]()
    for one in events:
        took[one.name] += one.time_range.elapsed_us()
        calls[one.name] += 1
    for name, spent in took.most_common(30):
        yield figure(f"{what}: {name[:100]}", 100 * spent / took.total(), "%", calls=calls[name])


def busy(intervals: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Returns the share of the span, from the first beginning to the last end, that intervals cover, and the
    span."""
    if not intervals:
        return 0.0, 0.0
    ordered = sorted(intervals)
    covered, until = 0.0, ordered[0][0]
    for start, end in ordered:
        covered += max(0.0, end - max(start, until))
        until = max(until, end)
    span = until - ordered[0][0]
    return (covered / span if span else 0.0), span
