"""When the loop gives up, and what its tick says of damaged images."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pipeline.config.run import RunConfig
from pipeline.errors import RunFailed
from pipeline.training.loop import Loop
from pipeline.training.stop import StopRequest
from tests.tiny_families import tiny_config
from tests.toy import toy_trainer


class Kept:
    """Keeps nothing, and counts the ends."""

    failed = False

    def __init__(self) -> None:
        self.ends = 0

    def checkpoint(self, trainer: Any, report: object = None) -> None: ...

    def snapshot(self, trainer: Any, report: object = None) -> None: ...

    def finish(self, trainer: Any) -> None:
        self.ends += 1


def loop(trainer: Any, kept: Kept, figures: list[dict[str, float]], **engine: Any) -> Loop:
    config = RunConfig(
        family=tiny_config("stylegan2"), length={"images": 64}, report={"every_images": 16}, engine=engine
    )
    report = SimpleNamespace(
        say=lambda line: None,
        tick=lambda images, step, values: figures.append(values),
        advance=lambda images: None,
    )
    return Loop(trainer, config, kept, report, StopRequest())  # type: ignore[arg-type]


@pytest.mark.parametrize(("bad", "fails"), [(2, False), (3, True)])
def test_it_gives_up_at_so_many_bad_updates_in_a_row_and_not_before(bad: int, fails: bool) -> None:
    trainer, kept = toy_trainer(), Kept()
    step = trainer.step

    def bad_step() -> None:
        step()
        trainer.bad_updates[0] = bad

    trainer.step = bad_step
    running = loop(trainer, kept, [], bad_steps=3)
    if fails:
        with pytest.raises(RunFailed, match="3 updates in a row"):
            running.run()
    else:
        assert running.run().images_seen >= 64
    assert kept.ends == 1


@pytest.mark.parametrize("here", [0, 3])
def test_a_tick_counts_the_damaged_images_of_all_ranks(here: int) -> None:
    trainer, figures = toy_trainer(), []
    engine = trainer.engine
    trainer.stream = SimpleNamespace(damaged=here, retries=0, draw=trainer.stream.draw)
    # Two ranks, of which this one passed over `here` images and the other none: their mean is half of it.
    process = SimpleNamespace(device=engine.process.device, world_size=2, rank=0)
    two = SimpleNamespace(
        process=process, mean=lambda stats: {name: value / 2 for name, value in stats.items()}
    )
    running = loop(trainer, Kept(), figures)
    trainer.engine = two
    waited = {"speed/data_wait_seconds": 0.0}
    assert running._of_data() == (waited | {"data/damaged_images": here} if here else waited)


def test_a_tick_says_how_long_the_rank_that_waited_longest_did_and_all_retries_since_the_last() -> None:
    """Three ranks, of which this one is the second."""
    trainer = toy_trainer()
    engine, draw = trainer.engine, trainer.stream.draw
    others = {"waits": torch.tensor([0.5, 0.0, 2.0]), "counts": torch.tensor([0.0, 4.0])}
    process = SimpleNamespace(device=engine.process.device, world_size=3, rank=1)
    running = loop(trainer, Kept(), [])
    trainer.engine = SimpleNamespace(
        process=process,
        mean=lambda stats: {name: (value + others[name]) / 3 for name, value in stats.items()},
    )
    for waited, retries, longest, again in ((1.0, 1, 2.0, 5), (4.5, 1, 3.5, 4), (4.5, 7, 2.0, 10)):
        trainer.waited_seconds = waited
        trainer.stream = SimpleNamespace(damaged=0, retries=retries, draw=draw)
        assert running._of_data() == pytest.approx(
            {"speed/data_wait_seconds": longest, "store/retries": again}, abs=1e-5
        )


def test_waiting_for_images_is_measured() -> None:
    trainer = toy_trainer()
    draw = trainer.stream.draw

    def slowly(*arguments: Any, **named: Any) -> Any:
        time.sleep(0.05)
        return draw(*arguments, **named)

    trainer.stream = SimpleNamespace(damaged=0, retries=0, draw=slowly)
    for _ in range(3):
        trainer.step()
    assert 0.15 <= trainer.waited_seconds < 5


def test_a_tick_says_how_long_training_paused_for_saving_since_the_last() -> None:
    class Slow(Kept):
        """Takes its time over a snapshot: the first comes before any step, the second at the end."""

        def snapshot(self, trainer: Any, report: object = None) -> None:
            time.sleep(0.2)

    figures: list[dict[str, float]] = []
    loop(toy_trainer(), Slow(), figures).run()
    first, *others = [tick["speed/pause_seconds"] for tick in figures]
    assert first >= 0.2
    assert others
    assert max(others) < 0.1
