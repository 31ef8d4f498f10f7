"""Whether a job goes back into the queue: the rule, and what the command does with it."""

from __future__ import annotations

import os
import sys

import pytest

from launch.cluster import requeue
from launch.cluster.requeue import End, decide
from pipeline.storage.job import Job, read_job, write_job

STOPPED = Job("stopped", "17", reason="SIGUSR2")
FAILED = Job("failed", "17", reason="rank 1 on n2 has given no sign of life for 61 s")
RUNNING = Job("running", "17")

# status, what SLURM is ending the job for, what the run said, images, images at the last crash,
# HRGAN_REQUEUE, restarts so far -> action, part of the reason
RULE = {
    "finished": ((0, None, Job("finished", "17"), 80, None, 3, 0), "leave", None),
    "stopped by its own limit": ((0, None, STOPPED, 80, None, 3, 0), "leave", None),
    "stopped by a signal": ((75, None, STOPPED, 80, None, 3, 0), "requeue", "SIGUSR2"),
    "the last time that is allowed": ((75, None, STOPPED, 80, None, 3, 2), "requeue", "SIGUSR2"),
    "too often": ((75, None, STOPPED, 80, None, 3, 3), "fail", "SIGUSR2; put back 3 times"),
    "nobody asked for requeues": ((137, None, RUNNING, 80, None, None, 0), "fail", "killed by SIGKILL"),
    "none allowed": ((75, None, STOPPED, 80, None, 0, 0), "fail", "SIGUSR2"),
    "wrong usage": ((2, None, None, 80, None, 3, 0), "fail", "exit code 2"),
    "a killed rank": ((137, None, RUNNING, 80, None, 3, 0), "requeue", "killed by SIGKILL"),
    "a failure with a line": ((1, None, FAILED, 80, None, 3, 0), "requeue", "rank 1 on n2 has given no sign"),
    "saved, then ended by srun": ((143, None, STOPPED, 80, 80, 3, 0), "requeue", "SIGUSR2"),
    "a killed rank that others name": (
        (137, None, FAILED, 80, None, 3, 0),
        "requeue",
        "a process was killed by SIGKILL; rank 1 on n2 has given no sign",
    ),
    "a crash after progress": ((1, None, FAILED, 80, 40, 3, 1), "requeue", "rank 1"),
    "a crash at the same place": ((1, None, FAILED, 80, 80, 3, 1), "fail", "twice in a row at 80 images"),
    "stopped at the same place": ((75, None, STOPPED, 80, 80, 3, 1), "requeue", "SIGUSR2"),
    "nothing saved, twice": ((1, None, None, 0, 0, 3, 1), "fail", "twice in a row at 0 images"),
    "the time limit itself": ((0, "TimeLimit", RUNNING, 80, None, 3, 0), "requeue", "time limit"),
    "the time limit itself, saved": ((75, "TimeLimit", STOPPED, 80, 80, 3, 0), "requeue", "time limit"),
    "cancelled": ((0, "None", RUNNING, 80, None, 3, 0), "leave", None),
    "cancelled, saved": ((75, "None", STOPPED, 80, None, 3, 0), "leave", None),
    "finished at the time limit": ((0, "TimeLimit", Job("finished", "17"), 80, None, 3, 0), "leave", None),
}


@pytest.mark.parametrize("name", RULE)
def test_the_rule(name):
    (status, ending, recorded, images, crashed_at, most, restarted), action, part = RULE[name]
    found, reason = decide(End(status, ending, recorded, images, crashed_at), most, restarted)
    assert found == action
    assert reason is None if part is None else part in reason


@pytest.fixture
def scontrol(tmp_path, monkeypatch):
    """A scontrol that writes down what it is asked and says what the file `says` holds."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "says").write_text("JobId=17 JobState=RUNNING Reason=None Dependency=(null)\n")
    answer = f"cat {tools}/says\n[ $1 = show ] || exit $(cat {tools}/code)\n"
    script = f'#!/bin/bash\necho "$@" >> {tools}/asked\n{answer}'
    (tools / "scontrol").write_text(script)
    (tools / "scontrol").chmod(0o755)
    (tools / "code").write_text("0")
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    for name, value in {"SLURM_JOB_ID": "17", "SLURM_RESTART_COUNT": "1", "HRGAN_REQUEUE": "4"}.items():
        monkeypatch.setenv(name, value)
    return tools


def settle(run, status: int) -> int:
    return requeue.main(["--run", str(run), "--status", str(status)])


def requeued(scontrol) -> bool:
    return "requeue 17" in (scontrol / "asked").read_text().splitlines()


def test_a_stopped_run_goes_back(scontrol, tmp_path, capsys):
    write_job(tmp_path / "run", Job("stopped", "17", 1, "SIGUSR2", "n1"))
    assert settle(tmp_path / "run", 75) == 0
    assert requeued(scontrol)
    job = read_job(tmp_path / "run")
    assert (job.state, job.requeues, job.reason) == ("requeued", 2, "SIGUSR2")
    assert capsys.readouterr().out == "hrgan: job 17 requeued (2 of 4): SIGUSR2\n"


def test_a_run_that_always_crashes_is_started_twice(scontrol, tmp_path, monkeypatch):
    (tmp_path / "run/checkpoints" / f"{80:012d}").mkdir(parents=True)
    states = []
    for restart in range(3):
        monkeypatch.setenv("SLURM_RESTART_COUNT", str(restart))
        settle(tmp_path / "run", 139)
        states.append(read_job(tmp_path / "run").state)
        if states[-1] == "failed":
            break
    assert states == ["requeued", "failed"]
    assert read_job(tmp_path / "run").reason == "a process was killed by SIGSEGV; twice in a row at 80 images"


def test_a_stop_between_two_crashes_is_no_third(scontrol, tmp_path):
    for status in (1, 75, 1):
        settle(tmp_path / "run", status)
        assert read_job(tmp_path / "run").state == "requeued"


def test_what_an_earlier_start_said_is_no_reason(scontrol, tmp_path):
    write_job(tmp_path / "run", Job("failed", "17", 0, "long ago", "n1"))
    settle(tmp_path / "run", 1)
    assert read_job(tmp_path / "run").reason == "exit code 1"


def test_the_run_of_another_job_is_left_alone(scontrol, tmp_path):
    write_job(tmp_path / "run", Job("running", "16"))
    assert settle(tmp_path / "run", 2) == 0
    assert read_job(tmp_path / "run").job_id == "16"
    assert not (scontrol / "asked").exists()


def test_a_requeue_that_is_refused_is_a_failure_with_both_reasons(scontrol, tmp_path, capsys):
    (scontrol / "code").write_text("1")
    assert settle(tmp_path / "run", 75) == 0
    job = read_job(tmp_path / "run")
    assert (job.state, job.requeues) == ("failed", 1)
    assert job.reason == "exit code 75; scontrol requeue 17: it failed"
    assert "hrgan: error: scontrol requeue 17: it failed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [("HRGAN_REQUEUE", "often", "HRGAN_REQUEUE=often: must be a number"), ("SLURM_JOB_ID", None, "not set")],
)
def test_wrong_surroundings_are_one_line(scontrol, tmp_path, monkeypatch, capsys, name, value, part):
    monkeypatch.delenv(name)
    if value is not None:
        monkeypatch.setenv(name, value)
    assert settle(tmp_path, 75) == 2
    assert part in capsys.readouterr().err


def test_it_loads_nothing_heavy():
    """It runs while SLURM waits to kill the job."""
    import subprocess

    code = "import sys, launch.cluster.requeue; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
