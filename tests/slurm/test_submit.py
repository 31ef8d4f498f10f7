"""`hrgan submit` and `hrgan runs` on a real SLURM: two nodes, an array, a dependency, a cancelled job."""

from __future__ import annotations

import getpass
import json
import time
from pathlib import Path

import pytest
import yaml

from launch.cluster.queue import ask_queue
from launch.cluster.run_states import run_state
from launch.main import main
from pipeline.config.load import read_dump
from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from pipeline.storage.job import read_job
from tests.small_run import ROOT, logged, write_config

SANDBOX = ROOT / "configs/cluster/sandbox.yaml"


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Shards and a configuration, in a folder whose name has a space."""
    folder = tmp_path_factory.mktemp("submit") / "a folder"
    prepare("demo:digits", folder / "shards", Asked(resolution=16, channels=1, count=60))
    sections = {"length": {"images": 48}, "report": {"tensorboard": False}, "snapshots": {"every_images": 48}}
    write_config(folder / "c.yaml", folder / "shards", **sections)
    return folder


@pytest.fixture
def submit(slurm, home, monkeypatch):
    """`hrgan submit train` of the configuration here, with this cluster as its SLURM."""
    monkeypatch.setenv("SLURM_CONF", str(slurm.conf))
    monkeypatch.chdir(ROOT)  # where a job finds this checkout

    def call(run: Path, *more: object, cluster: Path = SANDBOX) -> int:
        fixed = ["submit", "train", str(home / "c.yaml"), "data.workers=0", "--cluster", str(cluster)]
        return main([*fixed, "--run", str(run), *map(str, more)])

    yield call
    slurm.call("scancel", "--state=PENDING", f"--user={getpass.getuser()}", check=False)


def states(capsys, folder: Path) -> dict[str, dict]:
    """What `hrgan runs` says of each run, by its folder's name."""
    capsys.readouterr()
    assert main(["runs", str(folder), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["queue"], report["fault"]) == (True, None)
    return {Path(run["run"]).name: run for run in report["runs"]}


def wait_until_queue_is_empty(capsys, folder: Path, seconds: float = 120) -> set[str]:
    """Every state of a run that was seen meanwhile."""
    seen, end = set(), time.monotonic() + seconds
    while ask_queue().of(folder):
        seen |= {run["state"] for run in states(capsys, folder).values()}
        assert time.monotonic() < end, logs(folder)
        time.sleep(0.5)
    return seen


def logs(folder: Path) -> str:
    return "\n".join(path.read_text() for path in sorted(folder.rglob("*_log.out")))


@pytest.mark.slow
def test_training_on_two_nodes_and_then_its_evaluation(submit, home, capsys):
    run = home / "two"
    assert submit(run, "--nodes", 2, "--evaluate", "swd") == 0
    said = capsys.readouterr().out
    first, second = (line.split()[1].rstrip(":") for line in said.splitlines() if line.startswith("job "))
    assert states(capsys, run)["two"]["jobs"] == [f"evaluate {second} pending (Dependency)"]
    seen = wait_until_queue_is_empty(capsys, run)
    assert seen <= {"pending", "running", "finished"}
    assert "running" in seen
    state = states(capsys, run)["two"]
    assert (state["state"], state["images_seen"], state["metrics_at"]) == ("finished", 48, 48), logs(run)
    assert state["metrics"]["swd"] > 0
    assert [line["images_seen"] for line in logged(run)] == list(range(8, 49, 8))
    # Two processes, each with its own file; the first has said on how many.
    names = sorted(path.name for path in (run / "jobs").glob("*_log.out"))
    assert names == [f"{first}_0_log.out", f"{first}_1_log.out", f"{second}_0_log.out"]
    assert "batch 8 on 2 x cpu" in (run / f"jobs/{first}_0_log.out").read_text()


@pytest.mark.slow
def test_an_array_trains_a_run_for_each_value(submit, home, capsys):
    folder = home / "sweep"
    assert submit(folder, "--nodes", 1, "--sweep", "family.r1_gamma=1,2.5") == 0
    wait_until_queue_is_empty(capsys, folder)
    found = states(capsys, folder)
    assert {name: run["state"] for name, run in found.items()} == {
        "family.r1_gamma=1": "finished",
        "family.r1_gamma=2.5": "finished",
    }, logs(folder)
    for gamma in (1, 2.5):
        run = folder / f"family.r1_gamma={gamma}"
        assert read_dump(run / "config.yaml").family.r1_gamma == gamma
        (log,) = (run / "jobs").glob("*_log.out")
        assert "finished: 48 images" in log.read_text()


def test_a_job_that_waits_is_refused_twice_and_cancelled_in_the_queue(submit, slurm, home, capsys, tmp_path):
    run, later = home / "waits", tmp_path / "later.yaml"
    later.write_text(
        yaml.safe_dump({**yaml.safe_load(SANDBOX.read_text()), "options": {"begin": "now+1hour"}})
    )
    assert submit(run, cluster=later) == 0
    job_id = read_job(run).job_id
    state = states(capsys, run)["waits"]
    assert (state["state"], state["waits"], state["job_id"]) == ("pending", "BeginTime", job_id)
    assert submit(run) == 2
    assert f"is pending as job {job_id}" in capsys.readouterr().err
    slurm.call("scancel", job_id)
    assert run_state(run, ask_queue(), time.time() + 60).state == "cancelled"
    assert submit(run, cluster=later) == 0
    assert read_job(run).job_id != job_id


def test_what_slurm_refuses_is_said_in_its_words(submit, home, capsys, tmp_path):
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(yaml.safe_dump({**yaml.safe_load(SANDBOX.read_text()), "partition": "nosuch"}))
    assert submit(home / "refused", cluster=wrong) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("hrgan: error: sbatch refused the job: ")
    assert "invalid partition" in line
    assert read_job(home / "refused") is None
