"""The best snapshot of a run among figures measured alike, and when no progress ends a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.run import StopConfig
from pipeline.errors import UserError
from pipeline.evaluation.best import find_best, find_ending, is_better, mark_best
from pipeline.evaluation.metrics.registry import METRICS, base_of, can_rank, check_ranking
from pipeline.evaluation.results import Result
from pipeline.storage.ending import Ending, ask_to_end, asked_to_end


def result(images_seen: int, value: float, metric: str = "fid", **how: Any) -> Result:
    figures: dict[str, Mapping[str, Any]] = {metric: {"value": value, "count": 100, **how}}
    return Result(images_seen, f"snapshot {images_seen}", figures)


def publish(run: Path, *results: Result) -> None:
    (run / "metrics").mkdir(parents=True, exist_ok=True)
    for one in results:
        (run / f"metrics/{one.images_seen:012d}.json").write_bytes(one.to_bytes())


def test_lower_fid_and_higher_is() -> None:
    found = find_best([result(0, 9.0), result(8, 3.0), result(16, 4.0)], "fid")
    assert found is not None
    assert (found[0].images_seen, found[0].value, found[1]) == (8, 3.0, 16)
    found = find_best([result(0, 9.0, "is"), result(8, 3.0, "is")], "is")
    assert found is not None
    assert found[0].images_seen == 0
    assert find_best([result(0, 1.0)], "kid") is None


@pytest.mark.parametrize("metric", [name + other for name in METRICS for other in ("", "-dinov2")])
def test_whatever_can_say_which_is_best_may_end_a_run(metric: str) -> None:
    assert StopConfig(metric=metric).metric == metric
    if can_rank(metric):
        check_ranking(metric, "stop.metric")
    else:
        with pytest.raises(UserError, match=r"stop\.metric=msssim.*: does not say which of two is better; "):
            check_ranking(metric, "stop.metric")


def test_a_metric_that_there_is_not_cannot_end_a_run() -> None:
    check_ranking(None, "stop.metric")
    with pytest.raises(UserError) as caught:
        check_ranking("fdi", "stop.metric")
    allowed = ", ".join(name for name in METRICS if can_rank(name))
    assert str(caught.value) == f"stop.metric=fdi: unknown metric; allowed: {allowed}; did you mean fid?"


def test_names_with_an_extractor() -> None:
    assert base_of("fid-dinov2") == "fid"
    assert base_of("ppl-w") == "ppl-w"
    assert is_better("is-own", 3, 2)
    assert not is_better("fid-own", 3, 2)
    assert is_better("fid", 98.9, 100, least=0.01)
    assert not is_better("fid", 99.1, 100, least=0.01)
    assert can_rank("swd")
    assert not can_rank("msssim")


@pytest.mark.parametrize(
    "how",
    [{"count": 9}, {"data": "d"}, {"seeds": 3}, {"extractor": "e"}, {"resize": "r"}, {"perceptual": "p"}],
    ids=str,
)
def test_figures_measured_in_another_way_do_not_compete(how: dict[str, Any]) -> None:
    """FID of few images is higher: a count that was changed on the way is no progress and no loss."""
    found = find_best([result(0, 1.0, **how), result(8, 5.0), result(16, 4.0)], "fid")
    assert found is not None
    assert found[0].images_seen == 16


def test_it_is_marked(tmp_path: Path) -> None:
    assert mark_best(tmp_path, "fid") is None
    publish(tmp_path, result(0, 9.0), result(8, 3.0))
    mark_best(tmp_path, "fid")
    said = json.loads((tmp_path / "best.json").read_text())
    assert said == {
        "metric": "fid",
        "value": 3.0,
        "images_seen": 8,
        "snapshot": "snapshot 8",
        "folder": "snapshots/000000000008",
    }


def test_no_progress_for_long_enough_asks_for_the_end() -> None:
    stop = StopConfig(metric="fid", patience_images=16, least_improvement=0.1)
    better = [result(0, 9.0), result(8, 5.0), result(16, 4.9)]
    assert find_ending(better, stop) is None  # 4.9 is no tenth better than 5.0, but 8 images are not 16
    ending = find_ending([*better, result(24, 4.6)], stop)
    assert ending is not None
    assert (ending.best_images, ending.newest_images, ending.best_value) == (8, 24, 5.0)
    assert find_ending([*better, result(24, 4.4)], stop) is None
    assert find_ending([*better, result(24, 4.6)], StopConfig()) is None


def test_the_end_is_asked_for_under_the_same_settings_only(tmp_path: Path) -> None:
    stop = StopConfig(metric="fid", patience_images=16)
    assert asked_to_end(tmp_path, stop) is None
    ask_to_end(tmp_path, Ending("fid", 16, 0.0, 5.0, 8, 24))
    reason = asked_to_end(tmp_path, stop)
    assert reason == "fid has not improved on 5, of 8 images, up to 24 (stop.patience_images=16)"
    assert asked_to_end(tmp_path, StopConfig(metric="fid", patience_images=17)) is None
    assert asked_to_end(tmp_path, StopConfig()) is None
    (tmp_path / "stop.json").write_text("{")
    assert asked_to_end(tmp_path, stop) is None
