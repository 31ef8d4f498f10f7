"""`batch.micro: auto`: the most images that fit into a process's memory at once, determined by trial
steps."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from launch.assembly.fixtures import load_fixtures
from launch.assembly.trainer import assemble, family_of
from launch.failures import out_of_memory
from pipeline.config.run import RunConfig
from pipeline.contracts import SECOND, Batch, Family, Field, ImageSpec, Process, Schedule, Stage
from pipeline.engines.process import from_all
from pipeline.engines.replicated import Replicated
from pipeline.errors import RunFailed, UserError
from pipeline.models.layers import BatchNorm
from pipeline.training.trainer import micro_batches
from pipeline.words import counted, tell

_STEPS = 2  # the first step allocates Adam's moments; the second runs with them in memory
_STAGES = 64  # points of the schedule that are searched for the most demanding stage


def settled(config: RunConfig, spec: ImageSpec, process: Process) -> RunConfig:
    """`config` with a number instead of batch.micro=auto, the same on all ranks: the largest that fits on
    every one of them. RunFailed if none does. Trial steps use networks, optimizers and memory of their own,
    and leave the run untouched."""
    if config.batch.micro != "auto":
        return config
    here = next((most for most in candidates(config, spec, process) if fits(config, spec, process, most)), 0)
    fitting = from_all(here, process)
    if 0 in fitting:
        raise RunFailed(
            "batch.micro=auto: not even the fewest images that the networks accept fit into memory; lower "
            "the family's channels, set engine.recompute=blocks, or use another device"
        )
    most = min(fitting)
    if process.is_first:
        _tell_choice(config, spec, process, most)
    return config.model_copy(update={"batch": config.batch.model_copy(update={"micro": most})})


def candidates(config: RunConfig, spec: ImageSpec, process: Process) -> Iterator[int]:
    """The values that batch.micro may have, largest first: divisors of a process's batch that the family
    accepts in every stage."""
    family = family_of(config, spec)
    images = config.batch.size // process.world_size
    sizes = [size // process.world_size for size in family.schedule.batch_sizes()]
    for most in range(images, 0, -1):
        if images % most == 0 and _takes(family, sizes, most):
            yield most


def _takes(family: Family, sizes: list[int], most: int) -> bool:
    try:
        for images in sizes:
            family.check_batch(images // micro_batches(images, most))
    except UserError:
        return False
    return True


def fits(config: RunConfig, spec: ImageSpec, process: Process, most: int) -> bool:
    """Whether whole steps with all phases fit into memory with `most` images at once on this process."""
    try:
        _dry_steps(config, spec, process, most)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        return False
    finally:
        gc.collect()
        if process.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(process.device)
    return True


def _dry_steps(config: RunConfig, spec: ImageSpec, process: Process, most: int) -> None:
    """Trial steps on noise. They do not communicate with other ranks, because a rank that fails must not
    leave others waiting."""
    family = family_of(config, spec)
    family.fixtures = load_fixtures(config.fixtures, family, process.device).modules
    stage = largest_stage(config, family.schedule, process.world_size, most)
    family.schedule = Still(stage)
    trainer = assemble(
        family,
        engine=Replicated(Process(device=process.device)),
        seed=config.seed,
        micro=most,
        settings=config.engine.model_copy(update={"compile": False, "graphs": "off"}),
        stream=Noise(spec, process.device, second=family.needs.second),
        widths=config.averages.widths,
    )
    networks = trainer.networks
    for module in (networks.generator, networks.discriminator, family.memory):
        for layer in module.modules():
            if isinstance(layer, BatchNorm):
                layer.over_ranks = False
    for _ in range(_STEPS):
        trainer.progress.step = 0  # every lazy phase is due
        trainer.progress.growth = stage.growth
        trainer.step()


def largest_stage(config: RunConfig, schedule: Schedule, world_size: int, most: int) -> Stage:
    """The stage of the run with the most pixels at once, with the batch size of one process; if several are
    equal, the last."""
    places = [config.length.images * part // _STAGES for part in range(_STAGES + 1)]
    stages = [schedule.at(place) for place in reversed(places)]
    local = [replace(stage, batch_size=stage.batch_size // world_size) for stage in stages]
    return max(local, key=lambda stage: (min(stage.batch_size, most) * stage.resolution**2, stage.resolution))


@dataclass(frozen=True)
class Still:
    """A schedule with a single stage."""

    stage: Stage

    def at(self, images_seen: int) -> Stage:
        return self.stage

    def batch_sizes(self) -> tuple[int, ...]:
        return (self.stage.batch_size,)


@dataclass(frozen=True)
class Noise:
    """A stream of noise in the format of the reals."""

    spec: ImageSpec
    device: torch.device
    damaged: int = 0
    retries: int = 0
    second: bool = False

    @property
    def others(self) -> Noise:
        return self

    def draw(self, batch_size: int, times: int = 1, *, resolution: int | None = None) -> list[Batch]:
        spec = self.spec
        height, width = (resolution, resolution) if resolution else (spec.height, spec.width)
        generator = torch.Generator().manual_seed(0)
        images = torch.rand(batch_size, spec.channels, height, width, generator=generator) * 2 - 1
        labels = torch.arange(batch_size, device=self.device) % spec.classes if spec.classes else None
        extra = {field.name: _blank(field, batch_size).to(self.device) for field in spec.fields}
        if self.second:
            extra[SECOND] = images.to(self.device)
        return [Batch(images.to(self.device), labels, extra)] * times


def _blank(field: Field, count: int) -> torch.Tensor:
    """A batch of zeros in a field's shape and type (see `contracts.Field`)."""
    if field.kind == "image":
        height, width, channels = field.shape
        return torch.zeros(count, channels, height, width)
    shape = (1, *field.shape) if field.kind == "mask" else field.shape
    return torch.zeros(count, *shape, dtype=getattr(torch, field.dtype))


def _tell_choice(config: RunConfig, spec: ImageSpec, process: Process, most: int) -> None:
    images = config.batch.size // process.world_size
    line = f"hrgan: batch.micro=auto: {most}, of the {counted(images, 'image')} of a process"
    layers = (
        layer for _, network in family_of(config, spec).networks().items() for layer in network.modules()
    )
    if most < images and any(isinstance(layer, BatchNorm) for layer in layers):
        line += "; batch normalisation takes its statistics over so many of each process"
    tell(line)
