"""What training says of itself in job.json, without any scheduler."""

from __future__ import annotations

import pytest

from launch.cluster.record import most_requeues, record_end, record_failure, recorded
from pipeline.errors import RunFailed, UserError
from pipeline.storage.job import read_job


def said(run) -> tuple[str, str | None]:
    job = read_job(run)
    return job.state, job.reason


def test_it_runs_and_ends(tmp_path, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with recorded(tmp_path):
        assert said(tmp_path) == ("running", None)
        record_end(tmp_path, "SIGTERM")
    assert said(tmp_path) == ("stopped", "SIGTERM")
    assert (read_job(tmp_path).job_id, read_job(tmp_path).requeues) == (None, 0)
    record_end(tmp_path, None)
    assert said(tmp_path) == ("finished", None)


def test_in_a_job_it_names_it(tmp_path, monkeypatch):
    for name, value in {"SLURM_JOB_ID": "17", "SLURM_RESTART_COUNT": "2", "SLURMD_NODENAME": "n1"}.items():
        monkeypatch.setenv(name, value)
    with recorded(tmp_path):
        job = read_job(tmp_path)
    assert (job.job_id, job.requeues, job.host) == ("17", 2, "n1")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RunFailed("8 updates in a row were not finite"), "8 updates in a row were not finite"),
        (UserError("shards/0.tar: damaged"), "shards/0.tar: damaged"),
        (OSError(28, "No space left on device"), "the disk is full; the same command goes on"),
        (RuntimeError("shapes differ\nmuch more"), "shapes differ"),
        (ValueError("shape"), "ValueError: shape"),
        (AssertionError(), "AssertionError"),
        (KeyboardInterrupt(), "KeyboardInterrupt: interrupted"),
    ],
)
def test_a_failure_leaves_its_line(tmp_path, error, reason):
    with pytest.raises(type(error)), recorded(tmp_path):
        raise error
    assert said(tmp_path) == ("failed", reason)


def test_the_first_reason_stays(tmp_path):
    def fail() -> None:
        record_failure(tmp_path, "rank 1 on n2 hangs")
        raise RunFailed("lost contact with another process")

    with pytest.raises(RunFailed), recorded(tmp_path):
        fail()
    assert said(tmp_path) == ("failed", "rank 1 on n2 hangs")


def test_a_full_disk_does_not_hide_the_error(tmp_path, monkeypatch):
    def full(run, job):
        raise RunFailed("the disk is full")

    def fail() -> None:
        monkeypatch.setattr("launch.cluster.record.write_job", full)
        raise RunFailed("the real one")

    with pytest.raises(RunFailed, match="the real one"), recorded(tmp_path):
        fail()


@pytest.mark.parametrize(("text", "most"), [("0", 0), ("20", 20)])
def test_requeues_allowed(text, most):
    assert most_requeues({"HRGAN_REQUEUE": text}) == most
    assert most_requeues({}) is None


@pytest.mark.parametrize("text", ["", "-1", "many", "1.5"])
def test_requeues_that_are_no_number(text):
    with pytest.raises(
        UserError, match=r"HRGAN_REQUEUE=.*: must be a number of requeues; allowed: 0 or more"
    ):
        most_requeues({"HRGAN_REQUEUE": text})
