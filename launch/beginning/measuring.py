"""Time and memory of training, measured in a few steps on noise."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from launch.assembly.fitting import Noise
from launch.assembly.operations import use_operations
from launch.assembly.trainer import assemble, family_of
from pipeline.config.run import RunConfig
from pipeline.contracts import ImageSpec, Process
from pipeline.engines.replicated import Replicated
from pipeline.training.meters import peak_gib
from pipeline.training.trainer import Trainer

_MOST_STEPS, _MOST_SECONDS = 16, 60.0


@dataclass(frozen=True)
class Measured:
    """seconds_per_kimg: of training steps without a loader. peak_gib: of the process. steps: how many were
    timed."""

    seconds_per_kimg: float
    peak_gib: float
    steps: int


def measured(config: RunConfig, spec: ImageSpec) -> Measured:
    """Trains networks of `config` on noise: one step that is not timed, then up to 16, so that phases that
    come every few steps count as often as they come, or for a minute."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    use_operations(config.ops.backend, device)
    family = family_of(config, spec)
    trainer = assemble(
        family,
        engine=Replicated(Process(device=device)),
        micro=config.batch.micro if isinstance(config.batch.micro, int) else None,
        settings=config.engine.model_copy(update={"compile": False, "graphs": "off"}),
        stream=Noise(spec, device, second=family.needs.second),
        widths=config.averages.widths,
    )
    _step(trainer, device)
    trainer.progress.step = 0  # every lazy phase is due
    start, images, steps = time.perf_counter(), trainer.progress.images_seen, 0
    while steps < _MOST_STEPS and time.perf_counter() - start < _MOST_SECONDS:
        _step(trainer, device)
        steps += 1
    seconds = time.perf_counter() - start
    return Measured(1000 * seconds / (trainer.progress.images_seen - images), peak_gib(device), steps)


def _step(trainer: Trainer, device: torch.device) -> None:
    trainer.step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
