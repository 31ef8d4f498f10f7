"""A run that evaluation asks to end does so at a tick, as finished, with its last snapshot and checkpoint."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from pipeline.config.run import RunConfig
from pipeline.training.loop import Loop
from pipeline.training.stop import StopRequest
from pipeline.training.trainer import Trainer
from tests.tiny_families import tiny_config
from tests.toy import toy_trainer


class Kept:
    failed = False

    def __init__(self) -> None:
        self.written: list[tuple[str, int]] = []

    def checkpoint(self, running: Trainer, report: object = None) -> None:
        self.written.append(("checkpoint", running.progress.images_seen))

    def snapshot(self, running: Trainer, report: Any) -> None:
        self.written.append(("snapshot", running.progress.images_seen))

    def finish(self, running: Trainer) -> None:
        self.written.append(("finish", running.progress.images_seen))


def run(reasons: list[str | None], **stop: Any) -> tuple[Any, list[tuple[str, int]], list[str]]:
    config = RunConfig(
        family=tiny_config("stylegan2"),
        length={"images": 800},
        report={"every_images": 16},
        stop=stop,
    )
    said: list[str] = []
    report = SimpleNamespace(say=said.append, tick=lambda *_: None, advance=lambda _: None)
    kept = Kept()
    asked = iter(reasons)
    outcome = Loop(toy_trainer(), config, kept, report, StopRequest(), lambda: next(asked)).run()  # type: ignore[arg-type]
    return outcome, kept.written, said


def test_it_ends_at_the_tick_and_is_finished() -> None:
    outcome, written, said = run([None, None, "no better"], metric="swd")
    assert outcome.images_seen == 32
    assert outcome.stopped_by is None
    assert outcome.ended_by == "no better"
    assert written == [("snapshot", 0), ("snapshot", 32), ("checkpoint", 32), ("finish", 32)]
    assert said == ["the run ends here: no better"]


def test_started_again_it_does_nothing_more() -> None:
    outcome, written, _ = run(["no better"], metric="swd")
    assert outcome.images_seen == 0
    assert ("checkpoint", 0) not in written


def test_nobody_is_asked_without_the_setting() -> None:
    outcome, _, said = run([])
    assert outcome.images_seen == 800
    assert said == []
