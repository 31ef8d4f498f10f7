"""Runs training steps at full size on tensors without data (torch's meta device), as a GPU would dispatch
them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from unittest.mock import patch

import torch

import ops
from launch.assembly.trainer import assemble
from ops import _library
from pipeline.config.run import EngineConfig, RunConfig
from pipeline.contracts import ImageSpec, Phase, Process
from pipeline.engines.replicated import Replicated
from pipeline.models.auto import with_auto_settings
from pipeline.models.registry import build_family, low_precision_of
from pipeline.training.trainer import Trainer
from pipeline.training.turns import Graphs
from tools.bench.families import FixedBatch, NoiseStream
from tools.research.scale.counting import NoAverage, NoOptimizer

NOWHERE = torch.device("meta")
_GROWN = 10**9  # images seen: every schedule has ended, and every lazy phase is due


def step_without_data(
    config: RunConfig,
    spec: ImageSpec,
    images: int,
    *,
    around: Callable[[Phase], AbstractContextManager[object]] = lambda phase: nullcontext(),
    steps: int = 1,
    graphs: Graphs | None = None,
) -> Trainer:
    """Returns a trainer after `steps` steps with that many images, the first of which has every phase.

    around: is entered around each turn of a phase (`Trainer.around`). graphs: how main phases are captured.
    Nothing is computed. Optimizers and the average, which are one fused operation per network, are left out.
    """
    config = with_auto_settings(config, spec)
    low = low_precision_of(config.engine.computed)
    with _as_on_a_gpu():
        with NOWHERE:
            family = build_family(config.family, spec, batch_size=images, low_precision=low)
            networks = family.networks()
        family.schedule = FixedBatch(family.schedule, images)
        trainer = assemble(
            family,
            engine=Replicated(Process(device=NOWHERE)),
            settings=EngineConfig(recompute=config.engine.recompute, tf32="off"),
            networks=networks,
            stream=NoiseStream(spec, images, NOWHERE, second=family.needs.second),
            graphs=graphs,
        )
        trainer.around = around
        trainer.progress.images_seen = _GROWN
        for _ in range(steps):
            trainer.step()
    return trainer


@contextmanager
def _as_on_a_gpu() -> Iterator[None]:
    """Inside, tensors without data use what is compiled for a GPU, and nothing that is done only for a CPU.
    Their random numbers need no generators and take as many calls."""
    ops.use("auto", devices=("cpu",))  # schemas and shapes
    kind, autocast = NOWHERE.type, torch.autocast  # which knows no such tensors
    native = {(name, kind): form for (name, device), form in _library._native.items() if device == "cuda"}

    def seeded(seed: int, device: object = "cpu") -> torch.Generator | None:
        return None if device == NOWHERE else torch.Generator()

    with ExitStack() as stack:
        for change in (
            patch.object(torch, "autocast", lambda kind, **how: autocast(kind.replace("meta", "cpu"), **how)),
            patch.object(torch.optim, "Adam", NoOptimizer),
            patch.object(torch.optim, "SGD", NoOptimizer),
            patch.object(_library, "_loaded", {*_library._loaded, kind}),
            patch.dict(_library._chosen, native),
            patch("pipeline.randomness.seeded", seeded),
            patch("pipeline.training.trainer.Averager", NoAverage),
        ):
            stack.enter_context(change)
        yield
