"""What a run shows in TensorBoard, texts, layout, curves, all of it once however often it starts; and what
remains when nobody looks any more."""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2

from pipeline.board.events import EVALUATION, event_of, publish_events, scalar_summary
from pipeline.board.history import carry_curves
from pipeline.config.run import RunConfig
from pipeline.errors import RunFailed
from pipeline.training.loop import Loop
from pipeline.training.report import Figures, Report, curves_layout, stage_figures
from pipeline.training.stop import StopRequest
from tests.tiny_families import PLAIN, tiny_config, tiny_family, tiny_trainer
from tests.toy import toy_trainer
from tests.training.test_ending import Kept

LAYOUT = "custom_scalars__config__"
FIGURES = {"loss/generator": 1.0, "penalty/r1": 0.1, "gradient_norm/r1": 2.0}


def report(run: Path, start: int) -> Report:
    return Report(run, total=100, start=start, device=torch.device("cpu"), tensorboard=True)


def board(run: Path) -> EventAccumulator:
    return EventAccumulator(
        str(run / "tensorboard"), tensor_size_guidance={"scalars": 0, "images": 0}
    ).Reload()


def begin(run: Path) -> None:
    with report(run, 0) as begun:
        begun.describe({"config": "seed: 1", "data": "digits"}, {"seed": 1})
        begun.picture("reals", np.zeros((2, 2, 1), np.uint8), 0)
        for images_seen in (8, 16, 24):
            begun.tick(images_seen, images_seen // 8, FIGURES)


def check(run: Path) -> None:
    found = board(run)
    curves = [
        tag
        for tag in found.Tags()["tensors"]
        if found.SummaryMetadata(tag).plugin_data.plugin_name == "scalars"
    ]
    assert set(FIGURES) <= set(curves)
    for tag in curves:
        assert [event.step for event in found.Tensors(tag)] == [8, 16, 24, 32], tag
    for tag in (LAYOUT, "config/text_summary", "data/text_summary", "reals"):
        assert [event.step for event in found.Tensors(tag)] == [0], tag
    assert len(list((run / "tensorboard/evaluation").glob("*tfevents*"))) == 1


def test_it_goes_on_after_a_checkpoint(tmp_path: Path) -> None:
    begin(tmp_path)
    with report(tmp_path, 16) as again:
        for images_seen in (24, 32):
            again.tick(images_seen, images_seen // 8, FIGURES)
    check(tmp_path)


def test_it_begins_again_if_there_was_no_checkpoint(tmp_path: Path) -> None:
    begin(tmp_path)
    begin(tmp_path)
    with report(tmp_path, 24) as again:
        again.tick(32, 4, FIGURES)
    check(tmp_path)


def test_a_layout_comes_with_the_first_tick_even_if_that_comes_after_a_checkpoint(tmp_path: Path) -> None:
    with report(tmp_path, 0) as begun:
        begun.describe({"config": "seed: 1"}, {"seed": 1})
    with report(tmp_path, 4) as again:
        again.tick(8, 1, FIGURES)
    assert len(board(tmp_path).Tensors(LAYOUT)) == 1


def test_a_run_that_goes_on_from_another_has_its_points_up_to_there(tmp_path: Path) -> None:
    """Also of a source that was itself restarted, and whose other tries and later points are not taken."""
    source, run = tmp_path / "source", tmp_path / "run"
    begin(source)
    with report(source, 23) as again:  # other figures, at other places than the first try's
        for images_seen in (28, 32, 40):
            again.tick(images_seen, images_seen // 4, {name: 2 * value for name, value in FIGURES.items()})
    measured = [event_of(scalar_summary("metrics/swd", float(n)), n) for n in (8, 16, 40)]
    publish_events(source / EVALUATION, measured)
    for _ in range(2):  # a try that was killed begins again
        carry_curves(source, run, 32, {"seed": 1}, judged=True)
    with report(run, 32) as own:
        own.tick(36, 9, {"loss/generator": 5.0})
    found = board(run)
    assert [(e.step, float(e.tensor_proto.float_val[0])) for e in found.Tensors("loss/generator")] == [
        (8, 1.0),
        (16, 1.0),
        (28, 2.0),
        (32, 2.0),
        (36, 5.0),
    ]
    times = {e.step: e.wall_time for e in board(source).Tensors("loss/generator")}
    assert {e.step: e.wall_time for e in found.Tensors("loss/generator") if e.step < 36} == {
        step: time for step, time in times.items() if step < 36
    }
    assert "reals" not in found.Tags()["tensors"]
    judged = EventAccumulator(str(run / EVALUATION)).Reload()
    assert [event.step for event in judged.Tensors("metrics/swd")] == [8, 16]
    with report(run, 36) as own:  # which keeps what is there, its settings among it
        own.introduce({"seed": 1})
    assert len(list((run / EVALUATION).glob("*tfevents*"))) == 1
    carry_curves(source, tmp_path / "other", 32, {"seed": 1}, judged=False)
    assert (
        "metrics/swd" not in EventAccumulator(str(tmp_path / "other" / EVALUATION)).Reload().Tags()["tensors"]
    )


def test_the_layout_that_is_stored_is_that_of_the_figures(tmp_path: Path) -> None:
    begin(tmp_path)
    (event,) = board(tmp_path).Tensors(LAYOUT)
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    assert [category.title for category in layout.category] == [
        "losses",
        "regularisers",
        "gradients",
        "throughput",
        "quality",
    ]
    assert list(layout.category[0].chart[0].multiline.tag) == ["^loss/generator$"]


def test_a_tick_has_the_memory_as_it_is_at_its_end_and_means_of_the_rest() -> None:
    trainer = toy_trainer()
    given, now = [], []

    def tick(images_seen: int, step: int, figures: Figures) -> None:
        given.append(figures["state/loss_mean"])
        now.append(float(trainer.family.figures()["state/loss_mean"]))

    shown = SimpleNamespace(say=print, tick=tick, advance=lambda _: None)
    config = RunConfig(family=tiny_config("mlp"), length={"images": 96}, report={"every_images": 24})
    Loop(trainer, config, Kept(), shown, StopRequest()).run()  # type: ignore[arg-type]
    assert given == now
    assert len(set(given)) == 4


def test_a_tick_has_the_stage_at_its_position() -> None:
    """As the schedule has it there, so that whoever reads a line knows under which conditions it went on."""
    trainer = tiny_trainer(tiny_family("r3gan", PLAIN, burn_in_images=64))
    given: dict[int, Figures] = {}

    def tick(images_seen: int, step: int, figures: Figures) -> None:
        given[images_seen] = figures

    shown = SimpleNamespace(say=print, tick=tick, advance=lambda _: None)
    config = RunConfig(family=tiny_config("r3gan"), length={"images": 96}, report={"every_images": 24})
    Loop(trainer, config, Kept(), shown, StopRequest()).run()  # type: ignore[arg-type]
    assert sorted(given) == [24, 48, 72, 96]
    for images_seen, figures in given.items():
        stage = trainer.family.schedule.at(images_seen)
        found = {name: value for name, value in figures.items() if name.startswith("stage/")}
        assert found == {
            "stage/resolution": 8,
            "stage/fade": 1.0,
            "stage/batch_size": 8,
            "stage/ema_beta": stage.ema_beta,
            "stage/rate/generator": stage.rates["generator"],
            "stage/rate/discriminator": stage.rates["discriminator"],
            "stage/beta2/generator": stage.adam_beta2["generator"],
            "stage/beta2/discriminator": stage.adam_beta2["discriminator"],
            "stage/weight/r1_gamma": stage.weights["r1_gamma"],
            "stage/weight/r2_gamma": stage.weights["r2_gamma"],
            "stage/weight/augment_p": stage.weights["augment_p"],
        }
        assert all(type(value) in (int, float) for value in found.values())
    assert given[24]["stage/rate/generator"] > given[48]["stage/rate/generator"]


def test_a_fading_stage_is_shown(tmp_path: Path) -> None:
    schedule = tiny_family("progan", PLAIN).schedule
    places = range(0, 100, 7)
    for place in places:
        stage = schedule.at(place)
        figures = stage_figures(stage)
        assert figures["stage/fade"] == stage.fade
        assert figures["stage/resolution"] == stage.resolution
        assert figures["stage/batch_size"] == stage.batch_size
    assert len({schedule.at(place).fade for place in places}) > 2
    charts = curves_layout(figures)["stage"]
    assert charts["learning rates"][1] == ["^stage/rate/discriminator$", "^stage/rate/generator$"]
    assert {"fade", "resolution", "batch size", "decay of the averaged generator"} <= set(charts)


def test_a_full_disk_is_said_once_and_the_curves_follow(tmp_path, monkeypatch, capsys) -> None:
    """Whether a write fails, or ends half-way."""
    real, left = os.pwrite, [100_000]

    def full(file: int, data: bytes, at: int) -> int:
        taken = min(len(data), left[0])
        if not taken:
            raise OSError(errno.ENOSPC, "No space left on device")
        left[0] -= taken
        return real(file, data[:taken], at)

    monkeypatch.setattr(os, "pwrite", full)
    with report(tmp_path, 0) as begun:
        begun.describe({"config": "seed: 1", "data": "digits"}, {"seed": 1})
        begun.picture("reals", np.zeros((2, 2, 1), np.uint8), 0)
        begun.tick(8, 1, FIGURES)
        left[0] = 30
        begun.tick(16, 2, FIGURES)
        begun.tick(24, 3, FIGURES)
        assert [event.step for event in board(tmp_path).Tensors("loss/generator")] == [8]
        left[0] = 100_000
        begun.tick(32, 4, FIGURES)
    check(tmp_path)
    said = [line for line in capsys.readouterr().err.splitlines() if "curves" in line]
    assert said == [
        f"hrgan: warning: {tmp_path}/tensorboard: curves cannot be written: the disk is full; training goes "
        "on, and they will be written when possible",
        f"{tmp_path}/tensorboard: curves are written again",
    ]
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 4


def test_a_disk_that_stays_full_costs_curves_alone(tmp_path, monkeypatch, capsys) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with report(tmp_path, 0) as begun:
        begun.tick(8, 1, FIGURES)
        begun.sync()
        begun.tick(16, 2, FIGURES)
    lines = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(lines) == 2
    assert lines[1].endswith("tensorboard: the last 13 points could not be written")
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 2


def test_a_run_that_could_not_be_shown_among_others_is_at_a_later_tick(tmp_path, monkeypatch, capsys) -> None:
    def full(run: Path, settings: object) -> None:
        raise RunFailed("...") from OSError(errno.ENOSPC, "No space left on device")

    with report(tmp_path, 0) as begun:
        with monkeypatch.context() as disk:
            disk.setattr("pipeline.training.report.begin_evaluation", full)
            begun.describe({}, {"seed": 1})
            begun.tick(8, 1, FIGURES)
        assert not (tmp_path / "tensorboard/evaluation").exists()
        begun.tick(16, 2, FIGURES)
    assert len(list((tmp_path / "tensorboard/evaluation").glob("*tfevents*"))) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert lines == [
        f"hrgan: warning: {tmp_path}/tensorboard/evaluation: cannot be written yet (the disk is full)"
    ]


def test_of_what_a_power_loss_left_the_log_keeps_whole_entries_up_to_the_checkpoint(tmp_path) -> None:
    log = tmp_path / "log.jsonl"
    whole = b'{"images_seen": 8}\n'
    log.write_bytes(whole + b'\0\0\xff\n17\n["a"]\n{"images_seen": null}\n{"images_seen": 24}\n{"images')
    with report(tmp_path, 16):
        pass
    assert log.read_bytes() == whole


def test_the_share_of_a_tick_that_images_were_waited_for(tmp_path: Path) -> None:
    with Report(tmp_path, total=40, start=0, device=torch.device("cpu"), tensorboard=False) as shown:
        begun = time.perf_counter()
        time.sleep(0.2)
        shown.tick(8, 1, {"speed/data_wait_seconds": 0.1})
        longest = time.perf_counter() - begun
        shown.tick(16, 2, {})
    first, second = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
    assert 0.1 / (longest + 0.1) <= first["speed/data_wait_share"] <= 0.5
    assert "speed/data_wait_share" not in second
    charts = curves_layout(["speed/data_wait_share", "speed/data_wait_seconds", "store/retries"])[
        "throughput"
    ]
    assert charts == {
        "share of the time that was waited for images": ["Multiline", ["^speed/data_wait_share$"]],
        "requests that stores had to be asked again": ["Multiline", ["^store/retries$"]],
    }


def test_every_chart_has_a_curve() -> None:
    tags = ["loss/generator", "loss/discriminator", "penalty/r1", "path_length", "state/ada_p", "logits/real"]
    layout = curves_layout(tags)
    assert layout["ADA"] == {"probability of augmentation": ["Multiline", ["^state/ada_p$"]]}
    assert set(layout["regularisers"]) == {"penalty/r1", "path_length"}
    assert layout["losses"]["losses"] == ["Multiline", ["^loss/discriminator$", "^loss/generator$"]]
    assert "classes recognised" not in layout["losses"]
    assert "throughput" not in layout
    assert layout["quality"] == {}


def test_without_a_terminal_the_log_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    os.close(read)
    shown = Report(tmp_path, total=40, start=0, device=torch.device("cpu"), tensorboard=False)
    with os.fdopen(write, "w", buffering=1) as gone, shown:
        monkeypatch.setattr(sys, "stderr", gone)
        for step in range(1, 4):
            shown.tick(8 * step, step, {"loss/generator": 1.0})
            shown.advance(8 * step)
        monkeypatch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), gone.fileno())  # what is buffered goes nowhere
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["images_seen"] for line in lines] == [8, 16, 24]
