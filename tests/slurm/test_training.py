"""Training as a job that SLURM stops, puts back and loses nodes under: the same run, bit for bit."""

from __future__ import annotations

import os
import re
import signal
import time

import pytest

from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from tests.distributed.gang import run_module
from tests.restart.test_restart import curves, without_time
from tests.small_run import logged, write_config
from tools.compare_runs import differences
from tools.torture.kill_job import ClusterRun, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slurm")
    prepare("demo:digits", folder / "shards", Asked(resolution=8, channels=1, count=200))
    sections = {
        "length": {"images": 400},
        "engine": {"silence_seconds": 6},
        "checkpoints": {"every_images": 16, "keep": 3},
        "snapshots": {"every_images": 1000},
    }
    return write_config(folder / "c.yaml", folder / "shards", **sections)


@pytest.fixture
def job(slurm, tmp_path):
    job = ClusterRun(slurm, tmp_path / "run")
    yield job
    job.cancel()


def test_signalled_killed_and_a_node_lost_it_ends_as_if_nothing_had_happened(slurm, config, job, tmp_path):
    job.submit(config)
    job.wait_for_progress()
    slurm.call("scancel", "--signal=USR2", job.id)  # as before a time limit
    wait_until(lambda: job.requeues == 1)
    assert re.search(r"hrgan: job \d+ requeued \(1 of 20\): SIGUSR2", job.text)

    job.wait_for_progress()
    job.ranks()["1"].kill()
    wait_until(lambda: job.requeues == 2)
    assert "requeued (2 of 20): a process was killed by SIGKILL" in job.text

    job.wait_for_progress()
    slurm.call("scontrol", "update", "nodename=n2", "state=down", "reason=test")
    wait_until(lambda: job.requeues == 3)
    # Unless the node has come back by itself, which it does when it is asked how it is.
    slurm.call("scontrol", "update", "nodename=n2", "state=resume", check=False)

    wait_until(lambda: job.queued == "COMPLETED", 120)
    assert (job.state, job.job.requeues, job.job.job_id) == ("finished", 3, job.id)
    straight = tmp_path / "straight"
    run_module("launch.main", 2, ["train", str(config), "--run", str(straight)])
    assert differences(straight, job.run) == []
    ours, theirs = (list(map(without_time, logged(run))) for run in (job.run, straight))
    assert ours == theirs
    assert curves(job.run)["loss/generator"] == list(range(8, 401, 8))


def test_cancelled_it_saves_and_stays_away(slurm, config, job):
    job.submit(config, "length.images=100k")
    job.wait_for_progress()
    slurm.call("scancel", job.id)
    wait_until(lambda: job.queued == "CANCELLED")
    wait_until(lambda: job.state == "stopped")
    assert job.job.reason == "SIGTERM"
    assert "requeued" not in job.text
    assert job.saved == logged(job.run)[-1]["images_seen"]


def test_a_hung_rank_is_named_and_the_job_put_back(slurm, config, job):
    job.submit(config, "length.images=100k")
    job.wait_for_progress()
    os.kill(job.ranks()["1"].pid, signal.SIGSTOP)
    start = time.monotonic()
    wait_until(lambda: job.state == "requeued")
    assert time.monotonic() - start < 40
    assert re.search(
        r"hrgan: error: rank 1 on n2 has given no sign of life for \d+ s; the last step", job.text
    )
    assert "rank 1" in job.job.reason


def test_the_script_of_one_node(slurm, config, tmp_path):
    job = ClusterRun(slurm, tmp_path / "run", "one-node.sbatch").submit(config, "length.images=16")
    wait_until(lambda: job.queued == "COMPLETED")
    assert (job.state, job.job.job_id) == ("finished", job.id)


@pytest.mark.parametrize("script", ["one-node.sbatch", "many-nodes.sbatch"])
def test_scripts_as_they_stand_are_accepted(slurm, config, script):
    path = ClusterRun(slurm, config, script).script
    slurm.call("sbatch", "--test-only", "--cpus-per-task=1", str(path), "CONFIG", "RUN")
