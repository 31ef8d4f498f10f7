"""Several evaluators of one run: no snapshot twice, and the work of one that was killed is taken over."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from pathlib import Path

import pytest

from pipeline.evaluation.follow import Turns
from pipeline.evaluation.results import read_results, result_path
from pipeline.storage.claims import Claims
from pipeline.storage.job import Job, write_job
from tests.evaluation.worlds import write_shards, write_toy_snapshot
from tests.small_run import ROOT, environment
from tests.warm import Started, start_warm


def start(root: Path, *more: str) -> Started:
    program = ("-m", "tests.evaluation.evaluator", str(root / "data"), str(root / "run"), *more)
    return start_warm(program, environment(), ROOT)


def drawn(process: Started) -> list[str]:
    text = process.communicate()[1]
    assert process.wait(60) == 0, text
    return [line.split()[1] for line in text.splitlines() if line.startswith("draws ")]


@pytest.mark.slow
def test_several_share_a_run_and_take_over_from_one_that_was_killed(tmp_path: Path) -> None:
    write_shards(tmp_path / "data", 12)
    (tmp_path / "data/statistics").mkdir()
    for images_seen in range(0, 48, 8):
        write_toy_snapshot(tmp_path / "run", images_seen)
    doomed = start(tmp_path, "0", "8")
    assert doomed.stderr.readline().strip() == "draws 0"
    assert doomed.stderr.readline().strip() == "draws 8"  # and there it hangs
    others = [start(tmp_path, "0.3") for _ in range(4)]
    write_toy_snapshot(tmp_path / "run", 48)
    write_job(tmp_path / "run", Job("finished"))
    doomed.kill()
    doomed.communicate()
    counts = Counter(images for process in others for images in drawn(process))
    # 0 was done by the one that was killed, and nothing was done twice.
    assert counts == {str(images): 1 for images in range(8, 56, 8)}
    assert [result.images_seen for result in read_results(tmp_path / "run")] == list(range(0, 56, 8))
    left = {path.name for path in (tmp_path / "run/metrics").iterdir()}
    assert left == {f"{images:012d}.json" for images in range(0, 56, 8)}  # no claims, nothing partial
    best = json.loads((tmp_path / "run/best.json").read_text())
    values = {r.images_seen: r.metrics["swd"]["value"] for r in read_results(tmp_path / "run")}
    assert best["metric"] == "swd"
    assert values[best["images_seen"]] == min(values.values())


def test_an_evaluator_on_another_machine_is_given_a_minute(tmp_path: Path) -> None:
    snapshot = write_toy_snapshot(tmp_path / "run", 8)
    theirs = Claims(tmp_path / "run/metrics").take("000000000008")
    assert theirs is not None
    claim = tmp_path / "run/metrics/.000000000008.claim-0"
    claim.write_text(json.dumps({**json.loads(claim.read_text()), "place": "another machine"}))
    turns = Turns(tmp_path / "run", "newest", lambda _: result_path(snapshot))
    for silent, expected in ((50, "wait"), (61, "evaluate")):
        past = time.time() - silent
        os.utime(claim, (past, past))
        assert turns.next().do == expected
    turns.release()


@pytest.mark.slow
def test_of_many_that_wait_for_the_reals_one_looks_at_them(tmp_path: Path) -> None:
    """All start at once on one data set, each with a run of its own: statistics are built once."""
    write_shards(tmp_path / "data", 12)
    runs = [tmp_path / str(number) for number in range(3)]
    for run in runs:
        run.mkdir()
        write_toy_snapshot(run / "run", 0)
        (run / "data").symlink_to(tmp_path / "data")
    started = [start(run, "0") for run in runs]
    for process in started:
        assert drawn(process) == ["0"]
    files = sorted(path.name.split("-")[0] for path in (tmp_path / "data/statistics").iterdir())
    assert files == ["msssim", "msssim", "swd", "swd"]  # each with its sidecar; no claim is left
    figures = [read_results(run / "run")[0].metrics for run in runs]
    assert figures[0] == figures[1] == figures[2]
