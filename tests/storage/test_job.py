"""The state of a run as a file."""

from __future__ import annotations

import json
import time

import pytest

from pipeline.errors import Damaged
from pipeline.storage.job import Job, read_job, write_job


def test_a_run_without_one_has_none(tmp_path):
    assert read_job(tmp_path) is None


def test_comes_back_as_it_was_written_with_the_time(tmp_path):
    before = time.time()
    write_job(tmp_path / "run", Job("requeued", "17", 2, "stopped by USR2", "n1"))
    job = read_job(tmp_path / "run")
    assert (job.state, job.job_id, job.requeues) == ("requeued", "17", 2)
    assert (job.reason, job.host) == ("stopped by USR2", "n1")
    assert before - 1 <= job.updated <= time.time() + 1
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["job.json"]
    assert set(json.loads((tmp_path / "run/job.json").read_text())) == {
        "format",
        "state",
        "job_id",
        "requeues",
        "reason",
        "host",
        "updated",
    }


@pytest.mark.parametrize("text", ["", "[]", '{"state": "asleep"}', '{"state": "running", "x": 1}', "{}"])
def test_a_damaged_one_is_named(tmp_path, text):
    (tmp_path / "job.json").write_text(text)
    with pytest.raises(Damaged, match=r"job\.json"):
        read_job(tmp_path)
