"""The evaluation job: one atomic, idempotent result a snapshot, TensorBoard and a table."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pipeline.contracts import Sampler
from pipeline.errors import UserError
from pipeline.evaluation import results
from pipeline.evaluation.fakes import classes_of
from pipeline.evaluation.follow import evaluate_target
from pipeline.evaluation.job import EvaluationJob
from pipeline.evaluation.results import Result, add_metrics, read_result, result_path
from pipeline.evaluation.settings import PathSettings, Settings
from pipeline.storage.job import Job, write_job
from pipeline.storage.snapshots import Snapshot
from tests.evaluation.worlds import SmoothSampler, write_shards, write_toy_snapshot


def sampler(snapshot: Snapshot) -> Sampler:
    """Worse the younger the snapshot."""
    return SmoothSampler(snapshot.spec, rough=0.5 / (1 + snapshot.images_seen))


@pytest.fixture
def world(tmp_path: Path) -> Path:
    write_shards(tmp_path / "data", 24)
    for images_seen in (0, 8, 16):
        write_toy_snapshot(tmp_path / "run", images_seen)
    return tmp_path


def job(
    world: Path,
    *metrics: str,
    make: Callable[[Snapshot], Sampler] = sampler,
    report: Callable[[str], None] = print,
    **settings: Any,
) -> EvaluationJob:
    return EvaluationJob(
        world / "data", Settings(metrics or ("swd", "msssim"), **{"count": 20, **settings}), make, report
    )


def metrics_of(world: Path, images_seen: int) -> dict[str, Any]:
    return json.loads((world / f"run/metrics/{images_seen:012d}.json").read_text())


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    board = EventAccumulator(str(run / "tensorboard" / "evaluation"))
    board.Reload()
    return {tag: [(e.step, e.value) for e in board.Scalars(tag)] for tag in board.Tags()["scalars"]}


def test_a_run_gets_its_newest_and_its_untrained_snapshot(world: Path) -> None:
    said: list[str] = []
    found = evaluate_target(job(world), world / "run", "newest", said.append)
    assert [result.images_seen for result in found] == [0, 16]
    assert sorted(p.name for p in (world / "run/metrics").glob("*.json")) == [
        "000000000000.json",
        "000000000016.json",
    ]
    before, after = metrics_of(world, 0), metrics_of(world, 16)
    assert after["metrics"]["swd"]["value"] < before["metrics"]["swd"]["value"] * 0.75
    assert after["images_seen"] == 16
    assert len(after["snapshot"]) == 64
    assert after["versions"]["torch"]
    assert after["data"]["count"] == 24
    swd = after["metrics"]["swd"]
    assert set(swd["levels"]) == {"16", "32"}
    assert (swd["count"], swd["seed"], swd["floor"]["count"]) == (20, 0, 10)
    assert len(after["metrics"]["msssim"]["exponents"]) == 2
    assert after["metrics"]["msssim"]["pairs"] == 10
    lines = said[0].splitlines()
    assert lines[0].split() == ["images", "seen", "SWD", "x1000", "MS-SSIM"]
    assert "(1.00x)" in lines[1]
    assert lines[2].split()[0] == "16"
    floor, reals = swd["floor"]["value"], after["metrics"]["msssim"]["reals"]["value"]
    assert lines[-3:] == [
        "(x): ratio to the untrained generator",
        f"SWD x1000: lower is better; two halves of the reals (10 each) are {floor:.4g} apart",
        f"MS-SSIM: best near the reals: {reals:.4g} (of 20)",
    ]


def test_what_training_writes_meanwhile_is_left_for_the_next_time(world: Path) -> None:
    coming = [24, 32]

    def make(snapshot: Snapshot) -> Sampler:
        if coming:
            write_toy_snapshot(world / "run", coming.pop(0))
        return sampler(snapshot)

    found = evaluate_target(job(world, "msssim", make=make), world / "run", "newest", print)
    assert [result.images_seen for result in found] == [0, 16]


def test_what_stands_is_not_measured_again(world: Path) -> None:
    evaluate_target(job(world), world / "run", "all", print)
    before = files(world / "run")
    again = job(world, make=lambda _: pytest.fail("drew again"))
    assert len(evaluate_target(again, world / "run", "all", print)) == 3
    assert files(world / "run") == before


def test_the_same_figures_come_again_whatever_the_batch(world: Path) -> None:
    snapshot = write_toy_snapshot(world / "run", 8)
    job(world).evaluate(snapshot)
    path = result_path(snapshot)
    first = path.read_bytes()
    path.unlink()
    job(world, batch_size=7).evaluate(snapshot)
    again, old = json.loads(path.read_bytes()), json.loads(first)
    assert again["metrics"]["swd"] == old["metrics"]["swd"]
    assert again["metrics"]["msssim"]["value"] == pytest.approx(old["metrics"]["msssim"]["value"], rel=1e-5)


def test_new_metrics_join_old_ones(world: Path) -> None:
    snapshot = write_toy_snapshot(world / "run", 8)
    job(world, "swd").evaluate(snapshot)
    swd = metrics_of(world, 8)["metrics"]["swd"]
    found = job(world, "msssim").evaluate(snapshot)
    assert set(found.metrics) == {"swd", "msssim"}
    assert metrics_of(world, 8)["metrics"]["swd"] == swd
    job(world, "swd", count=12).evaluate(snapshot)
    assert metrics_of(world, 8)["metrics"]["swd"]["count"] == 12


def test_another_snapshot_under_the_name_starts_afresh(world: Path) -> None:
    said: list[str] = []
    job(world, "msssim").evaluate(write_toy_snapshot(world / "run", 8))
    other = write_toy_snapshot(world / "other", 8, weight=1.0)
    result_path(other).parent.mkdir(parents=True)
    result_path(other).write_bytes((world / "run/metrics/000000000008.json").read_bytes())
    found = job(world, "swd", report=said.append).evaluate(other)
    assert set(found.metrics) == {"swd"}
    assert any("another snapshot" in line for line in said)


def test_a_kill_while_publishing_leaves_the_old_result(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = write_toy_snapshot(world / "run", 8)
    job(world, "msssim").evaluate(snapshot)
    before = result_path(snapshot).read_bytes()

    def killed(path: Path, data: bytes) -> None:
        path.with_name(f".{path.name}.partial").write_bytes(data[:10])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(results, "publish_bytes", killed)
        empty = Result(8, snapshot.digest, {})
        with pytest.raises(KeyboardInterrupt):
            add_metrics(result_path(snapshot), empty, {"swd": {"value": 1.0}}, {}, print)
    assert result_path(snapshot).read_bytes() == before
    found = read_result(result_path(snapshot))
    assert found is not None
    assert set(found.metrics) == {"msssim"}


def test_a_result_that_is_none_is_named_kept_aside_and_measured_anew(world: Path) -> None:
    snapshot, said = write_toy_snapshot(world / "run", 8), list[str]()
    path = result_path(snapshot)
    path.parent.mkdir(exist_ok=True)
    path.write_text("{}")
    found = job(world, "msssim", report=said.append).evaluate(snapshot)
    assert found is not None
    assert set(found.metrics) == {"msssim"}
    assert read_result(path) == found
    (line,) = said
    assert line.startswith(f"{path}: images_seen: field required; measured anew")
    assert path.with_name("000000000008.json.damaged").read_text() == "{}"


def test_a_snapshot_alone_has_its_result_beside_it(world: Path) -> None:
    (world / "run/snapshots/000000000016").rename(world / "best")
    evaluate_target(job(world, "msssim"), world / "best", "newest", print)
    assert json.loads((world / "metrics-best.json").read_text())["images_seen"] == 16
    assert not (world / "run/metrics").exists()


def test_tensorboard_has_each_figure_once(world: Path) -> None:
    evaluate_target(job(world), world / "run", "all", print)
    evaluate_target(job(world), world / "run", "all", print)
    (world / "run/metrics/000000000008.json").unlink()
    evaluate_target(job(world), world / "run", "all", print)
    found = scalars(world / "run")
    assert {
        "metrics/swd",
        "metrics/swd/32px",
        "metrics/swd/16px",
        "metrics/swd/floor",
        "metrics/msssim",
    } <= set(found)
    assert [step for step, _ in found["metrics/swd"]] == [0, 8, 16]
    expected = [metrics_of(world, step)["metrics"]["swd"]["value"] for step in (0, 8, 16)]
    assert [value for _, value in found["metrics/swd"]] == pytest.approx(expected, rel=1e-6)


def test_fakes_have_seeds_from_zero_and_classes_as_frequent_as_the_reals(tmp_path: Path) -> None:
    index = write_shards(tmp_path / "data", 32, classes=("a", "b", "c", "d"))  # squares modulo 4: a and b
    snapshot = write_toy_snapshot(tmp_path / "run", 8, classes=("a", "b", "c", "d"))
    drawing = SmoothSampler(index.spec)
    job(tmp_path, "swd", make=lambda _: drawing, batch_size=7).evaluate(snapshot)
    assert [seed for seed, _ in drawn_of(drawing)] == list(range(20))
    reals = [number * number % 4 for number in range(32)]
    assert [label for _, label in drawn_of(drawing)] == classes_of(range(20), reals)
    assert {label for _, label in drawn_of(drawing)} == {0, 1}
    again = SmoothSampler(index.spec)
    job(tmp_path, "msssim", make=lambda _: again).evaluate(snapshot)
    assert drawn_of(again) == drawn_of(drawing)


def drawn_of(sampler: SmoothSampler) -> list[tuple[int, int | None]]:
    return sampler.drawn[:20]  # what comes after is for pictures


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"size": 16},
            r"data: images are 16x16 RGB, but those of .*000000000008 are 32x32 RGB; .*prepare the data at",
        ),
        ({"channels": 1}, "images are 32x32 grey, but those of .* are 32x32 RGB"),
    ],
)
def test_other_shapes_are_refused_before_any_work(tmp_path: Path, data: dict[str, Any], message: str) -> None:
    write_shards(tmp_path / "data", 12, **data)
    snapshot = write_toy_snapshot(tmp_path / "run", 8)
    with pytest.raises(UserError, match=message):
        job(tmp_path, "msssim", make=lambda _: pytest.fail("worked")).evaluate(snapshot)


def test_other_classes_are_refused(tmp_path: Path) -> None:
    write_shards(tmp_path / "data", 12, classes=("cat", "dog"))
    snapshot = write_toy_snapshot(tmp_path / "run", 8, classes=("dog", "cat"))
    with pytest.raises(UserError, match=r"its 2 classes are not the 2 of .* same names in the same order"):
        job(tmp_path).evaluate(snapshot)


def test_images_too_small_for_a_metric(tmp_path: Path) -> None:
    write_shards(tmp_path / "data", 12, size=8)
    with pytest.raises(UserError, match="images of 8 pixels; swd needs at least 16"):
        job(tmp_path)
    write_shards(tmp_path / "cropped" / "data", 12, size=16)
    with pytest.raises(UserError, match="images of 16 pixels; ppl-z needs at least 32"):
        job(tmp_path / "cropped", "ppl-z", paths=PathSettings(crop=True))
    job(tmp_path / "cropped", "ppl-z")


def test_watching_ends_with_the_run(world: Path) -> None:
    """Snapshots that appear while it waits are evaluated; the run's length ends it."""
    from pipeline.config.load import dump_config
    from pipeline.config.run import RunConfig

    text = dump_config(RunConfig.model_validate({"family": {"name": "stylegan2"}, "length": {"images": 32}}))
    (world / "run/config.yaml").write_text(text)
    said: list[str] = []
    coming = [24, 32]

    def train_on(seconds: float) -> None:
        assert seconds > 0
        write_toy_snapshot(world / "run", coming.pop(0))

    found = evaluate_target(job(world, "msssim"), world / "run", "watch", said.append, train_on)
    assert [result.images_seen for result in found] == [0, 8, 16, 24, 32]
    assert len(said) == 5
    assert coming == []


def test_watching_names_a_damaged_result_once(world: Path) -> None:
    """Whatever the number of tables."""
    write_job(world / "run", Job("finished"))
    (world / "run/metrics").mkdir()
    (world / "run/metrics/000000000004.json").write_text("{")
    said: list[str] = []
    evaluate_target(job(world, "msssim"), world / "run", "watch", said.append)
    assert sum("000000000004.json" in line for line in said) == 1
    assert sum(line.startswith("images seen") for line in said) == 3


def test_no_progress_asks_the_run_to_end_once_all_is_measured(world: Path) -> None:
    from pipeline.config.load import dump_config
    from pipeline.config.run import RunConfig

    stop = {"metric": "swd", "patience_images": 8}
    settings = {"family": {"name": "stylegan2"}, "length": {"images": 32}, "stop": stop}
    (world / "run/config.yaml").write_text(dump_config(RunConfig.model_validate(settings)))
    worse = {0: 0.1, 8: 0.4, 16: 0.02, 24: 0.4, 32: 0.4}  # 8 is worse than 0, but 16 waits by then

    def make(snapshot: Snapshot) -> Sampler:
        asked.append((world / "run/stop.json").exists())
        return SmoothSampler(snapshot.spec, rough=worse[snapshot.images_seen])

    asked: list[bool] = []
    said: list[str] = []
    coming = [24, 32]

    def train_on(_: float) -> None:
        write_toy_snapshot(world / "run", coming.pop(0))

    evaluate_target(job(world, "swd", make=make), world / "run", "watch", said.append, train_on)
    assert asked == [False, False, False, False, True]  # 24 is no better than 16, and all are measured then
    assert json.loads((world / "run/best.json").read_text())["images_seen"] == 16
    assert sum("asked the run to end: swd has not improved" in line for line in said) == 1


def test_watching_waits_for_a_run_that_has_not_begun(world: Path) -> None:
    from pipeline.config.load import dump_config
    from pipeline.config.run import RunConfig

    run = world / "submitted"
    write_job(run, Job("pending", "17"))
    text = dump_config(RunConfig.model_validate({"family": {"name": "stylegan2"}, "length": {"images": 8}}))
    steps = [
        lambda: (run / "config.yaml").write_text(text),
        *(partial(write_toy_snapshot, run, n) for n in (0, 8)),
    ]
    found = evaluate_target(job(world, "msssim"), run, "watch", lambda line: None, lambda _: steps.pop(0)())
    assert [result.images_seen for result in found] == [0, 8]
    with pytest.raises(UserError, match="neither a snapshot"):
        evaluate_target(job(world, "msssim"), _empty(world), "watch", lambda line: None)


def _empty(world: Path) -> Path:
    (world / "empty").mkdir()
    return world / "empty"


def test_cached_reals_give_the_same_figures(world: Path) -> None:
    snapshot = write_toy_snapshot(world / "run", 8)
    first = job(world).evaluate(snapshot)
    result_path(snapshot).unlink()
    assert len(list((world / "data/statistics").glob("*.safetensors"))) == 2
    assert job(world).evaluate(snapshot) == first
