"""A run that takes a second: its generator is trained, and its snapshots keep averages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.storage.averages import kept_average
from pipeline.storage.snapshots import write_snapshot
from pipeline.training.ema import TrackedAverages
from pipeline.training.trainer import Trainer
from tests.tiny_families import DIGITS, tiny_config, tiny_family, tiny_trainer

WIDTHS = (0.01, 0.05, 0.1)


def tracked(trainer: Trainer, widths: Sequence[float] = WIDTHS) -> Trainer:
    """The trainer, with averages of these widths."""
    trainer.tracked = TrackedAverages(trainer.networks.generator, widths)
    return trainer


def averaged_run(
    run: Path,
    *,
    steps: int,
    every: int,
    name: str = "mlp",
    then: Callable[[Trainer, int], None] = lambda trainer, step: None,
) -> Trainer:
    """Trains a tiny family on digits, with a snapshot every so many steps. then: is called after each step
    and its snapshot, with the number of steps so far."""
    running = tiny_trainer(tiny_family(name), widths=WIDTHS)
    for step in range(1, steps + 1):
        running.step()
        if step % every == 0:
            write_tracked(run, running, name)
        then(running, step)
    return running


def write_tracked(run: Path, running: Trainer, name: str) -> Path:
    """The trainer's snapshot in `run`, as the keeper writes it."""
    progress, weights = running.progress, running.averager.average.state_dict()
    return write_snapshot(
        run,
        weights,
        family=tiny_config(name),
        spec=DIGITS,
        classes=[str(number) for number in range(DIGITS.classes)],
        stage=running.family.schedule.at(progress.images_seen),
        images_seen=progress.images_seen,
        step=progress.step,
        world_size=1,
        config_digest="c",
        data={},
        averages=[
            kept_average(kind, average, weights)
            for kind, average in running.tracked.at(progress.images_seen).items()
        ],
    )
