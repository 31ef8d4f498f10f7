"""What `hrgan submit` refuses, before anything is submitted, and how it says so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from launch.main import main
from pipeline.storage.job import Job, read_job, write_job
from tests.launch.clusters import cluster_file, submit_train
from tests.small_run import ROOT

CLUSTER_FAULTS = {
    "unknown key": ({"partion": "x"}, "partion=x: unknown key; did you mean partition?"),
    "no time": ({"time": "absent"}, "time: missing"),
    "wrong time": ({"time": "soon"}, "time=soon: not a time; allowed: seconds, or numbers with s, m, h or d"),
    "late sign": (
        {"time": "3m"},
        "signal_seconds=200: must be less than time=180 seconds, and more than a save",
    ),
    "two lines": ({"partition": "a\nrm -r b"}, "must be one line of text"),
    "no nodes": ({"nodes": 0}, "nodes=0: must be greater than 0"),
    "no number": ({"gpus_per_node": True}, "gpus_per_node=true: must be a number, not true or false"),
    "setup as text": ({"setup": "module load x"}, "setup=module load x: must be a list, such as [a, b]"),
    "option with a key": ({"options": {"mem": "3G"}}, "options: mem has a key of its own: memory_gb"),
    "our option": ({"options": {"signal": "TERM@3"}}, "options: signal is set by hrgan submit"),
    "number of processes": (
        {"options": {"ntasks": 3}},
        "options: ntasks has a key of its own: tasks_per_node",
    ),
    "two lines in an option": (
        {"options": {"mail_user": "a\n#SBATCH --wrap=id"}},
        "must be one line of text",
    ),
    "option that is no option": (
        {"options": ["x"]},
        ": must be names with values, such as {name: value}",
    ),
    "variable": (
        {"environment": {"A": True}},
        "environment.A=true: must be a valid string; put it in quotes",
    ),
}


# What else sbatch knows: another command, folder, user, environment or answer than hrgan submit counts on.
NOT_PASSED_ON = (
    *("wrap", "chdir", "export", "export_file", "get_user_env", "uid", "gid", "input", "container", "batch"),
    *(
        "clusters",
        "nodefile",
        "test_only",
        "parsable",
        "wait",
        "quiet",
        "verbose",
        "ignore_pbs",
        "usage",
        "wra",
    ),
)


@pytest.mark.parametrize("option", NOT_PASSED_ON)
def test_an_option_that_changes_what_is_run_is_refused_in_one_line(home, tmp_path, capsys, option):
    path = cluster_file(tmp_path, options={option: "touch owned"})
    assert main(["submit", "train", str(home / "c.yaml"), "--cluster", path, "--dry-run"]) == 2
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert f"options: {option} is not passed on to sbatch; allowed: acctg_freq, bb, " in line
    assert said.out == ""


@pytest.mark.parametrize("name", CLUSTER_FAULTS)
def test_a_wrong_cluster_file(home, tmp_path, capsys, name):
    changes, expected = CLUSTER_FAULTS[name]
    path = cluster_file(tmp_path, **changes)
    assert main(["submit", "train", str(home / "c.yaml"), "--cluster", path, "--dry-run"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert expected in said.err
    assert said.err.startswith(f"hrgan: error: {path}")


TRAIN = "train {home}/c.yaml --cluster {tmp}/cluster.yaml --run {tmp}/r"
EVALUATE = "evaluate {tmp}/r --data {home}/shards --cluster {tmp}/cluster.yaml --after 17"
PICTURE = "generate {tmp}/r a.png --count 4 --grid --cluster {tmp}/cluster.yaml --after 17"
DATA_SET = "evaluate {home}/shards --data {home}/shards --cluster {tmp}/cluster.yaml"
PREPARE = "prepare demo:digits {tmp}/d --cluster {tmp}/cluster.yaml"
FAULTS = {
    "train {home}/c.yaml": "missing option '--cluster'",
    "train {home}/c.yaml --cluster {tmp}/clustr.yaml": "no such file; did you mean {tmp}/cluster.yaml?",
    "train {home}/d.yaml --cluster {tmp}/cluster.yaml": "{home}/d.yaml: no such file; did you mean",
    TRAIN + " batch.sizee=3": "override: batch.sizee=3: unknown key; did you mean batch.size?",
    TRAIN + " batch.size=12": "batch.size=12: does not divide over 8 processes; allowed: a multiple of 8",
    TRAIN + " --nodes 3": "batch.size=8: does not divide over 12 processes",
    TRAIN + " --nodes 0": "invalid value for '--nodes'",
    TRAIN + " data.path=/nowhere": "/nowhere",
    TRAIN + " data.resolution=64": "data.resolution: the config expects 64px",
    TRAIN + " --after soon": "--after soon: must be the number of a job, such as 17 or 17_2",
    TRAIN + " --batch 3": "no such option: --batch",
    TRAIN + " --sweep seed": "--sweep seed: must be key.path=value,value,...",
    TRAIN + " --sweep seed=": "--sweep seed=: must be key.path=value,value,...",
    TRAIN + " --sweep sed=1,2": "override: sed=1: unknown key; did you mean seed?",
    TRAIN + " --sweep seed=1 --sweep seed=2": "--sweep: seed is given twice",
    TRAIN + " --sweep seed=1,1": "--sweep: two runs would be named seed=1",
    TRAIN + " --evaluate fdi": "--metrics: unknown metric 'fdi'; allowed: fid, kid",
    "train {home}/c.yaml --cluster {tmp}/cluster.yaml --run {tmp}/100%": "allowed: a path without %",
    EVALUATE + " --metrics swdd": "--metrics: unknown metric 'swdd'",
    EVALUATE + " --mertics swd": "no such option: --mertics; did you mean --metrics",
    EVALUATE + " --all --watch": "--all and --watch: give one",
    EVALUATE + " --each --watch": "--each: submits a job for each snapshot; not allowed with --all, --watch",
    EVALUATE + " --each --widths 0.1": "--each: submits a job for each snapshot; not allowed with --all",
    EVALUATE + " --each": "--each: {tmp}/r is not a run with snapshots",
    DATA_SET + " --all": "--all: selects a run's snapshots, and {home}/shards is a data set",
    DATA_SET + " --metrics ppl-z": "--metrics ppl-z: works on a generator itself",
    DATA_SET + " --each": "--each: {home}/shards is not a run with snapshots",
    PICTURE + " --nodes 2": "--nodes 2: one process makes a picture (--grid); allowed: 1",
    EVALUATE + " --count 3": "--count 3: must be at least 10",
    "evaluate {tmp}/r --cluster {tmp}/cluster.yaml": "missing option '--data'",
    "evaluate {tmp}/none --data {home}/shards --cluster {tmp}/cluster.yaml": "{tmp}/none: no such folder",
    "evaluate {tmp}/r --data {home}/no --cluster {tmp}/cluster.yaml": "{home}/no",
    "generate {tmp}/r out --cluster {tmp}/cluster.yaml": "missing option '--count'",
    "generate {tmp}/r o --count 3 --cluster {tmp}/cluster.yaml": "snapshots yet; allowed: --after JOB, the",
    PREPARE + " --nodes 2": "--nodes 2: each job has one node; allowed: --tasks 2, for as many jobs",
    PREPARE + " --tasks 0": "invalid value for '--tasks'",
    PREPARE + " --resolution 2": "resolution: 2x2; 4 to 16384 pixels a side are allowed",
    PREPARE + " --hold-out 2": "--hold-out 2: must be a share of all, such as 2% or 0.02",
    PREPARE + " --resolutoin 8": "no such option: --resolutoin; did you mean --resolution",
    "prepare demo:cats {tmp}/d --cluster {tmp}/cluster.yaml": "demo:cats: no such demo; allowed:",
    "prepare demo:digits {home} --cluster {tmp}/cluster.yaml": "not empty (holds c.yaml)",
    "prepare demo:digits {home}/shards --cluster {tmp}/cluster.yaml": "is complete; there is nothing to",
    "": "missing command; allowed: train, evaluate, generate, prepare, encode (see hrgan submit --help)",
}


@pytest.mark.parametrize("words", FAULTS)
def test_what_is_refused_before_anything_is_submitted(home, tmp_path, capsys, words, monkeypatch):
    monkeypatch.setenv("PATH", str(_never_called(tmp_path)))
    cluster_file(tmp_path)
    write_job(tmp_path / "r", Job("pending", "17"))
    arguments = [word.format(home=home, tmp=tmp_path) for word in words.split()]
    assert main(["submit", *arguments]) == 2
    said = capsys.readouterr()
    assert FAULTS[words].format(home=home, tmp=tmp_path) in said.err
    assert (said.out, len(said.err.splitlines())) == ("", 1)
    assert [path.name for path in (tmp_path / "r").rglob("*")] == ["job.json"]


def _never_called(folder: Path) -> Path:
    tools = folder / "tools"
    tools.mkdir()
    for name in ("sbatch", "squeue"):
        (tools / name).write_text("#!/bin/sh\n" + ("exit 1" if name == "sbatch" else "") + "\n")
        (tools / name).chmod(0o755)
    return tools


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (
            "sbatch: error: invalid partition specified: gpu\nsbatch: error: Batch job submission failed: no",
            2,
        ),
        ("sbatch: error: Unable to contact slurm controller (connect failure)", 1),
    ],
)
def test_what_sbatch_refuses_leaves_no_trace(home, tmp_path, capsys, slurm_stand_ins, said, code):
    (slurm_stand_ins / "refuse").write_text(said + "\n")
    assert submit_train(home, tmp_path) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("hrgan: error: sbatch refused the job: error: ")
    assert said.splitlines()[-1].removeprefix("sbatch: ") in line
    assert read_job(tmp_path / "r") is None
    assert [path.name for path in (tmp_path / "r/jobs").iterdir()] == ["train.yaml"]
    before = Job("stopped", "12", reason="SIGUSR2")
    write_job(tmp_path / "r", before)
    assert submit_train(home, tmp_path) == code
    assert read_job(tmp_path / "r").reason == "SIGUSR2"


@pytest.mark.parametrize("state", ["pending", "running", "requeued", "stopped"])
def test_a_run_that_waits_or_runs_is_refused_with_its_job(home, tmp_path, capsys, slurm_stand_ins, state):
    write_job(tmp_path / "r", Job(state, "17"))
    (slurm_stand_ins / "queue").write_text("17|17|PENDING|Resources|gpu|(null)\n")
    assert submit_train(home, tmp_path) == 2
    assert f"{tmp_path}/r: is pending as job 17; wait for it" in capsys.readouterr().err
    (slurm_stand_ins / "queue").write_text("")  # it was cancelled, or died
    assert submit_train(home, tmp_path) == 0


def test_a_run_that_is_trained_outside_the_cluster_is_refused(home, tmp_path, capsys, slurm_stand_ins):
    from pipeline.storage.lock import only_writer

    with only_writer(tmp_path / "r"):
        assert submit_train(home, tmp_path) == 2
    assert "another process is writing this folder" in capsys.readouterr().err


def test_a_run_of_another_configuration_is_refused(home, tmp_path, capsys, slurm_stand_ins):
    assert submit_train(home, tmp_path) == 0
    (tmp_path / "r/jobs/train.yaml").rename(tmp_path / "r/config.yaml")
    (tmp_path / "r/job.json").unlink()
    assert submit_train(home, tmp_path, "seed=6") == 2
    assert "belongs to another configuration (seed: 5 -> 6)" in capsys.readouterr().err


def test_without_slurm_one_line(home, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert submit_train(home, tmp_path) == 2
    assert capsys.readouterr().err == (
        "hrgan: error: sbatch is not on PATH: there is no SLURM here; "
        "submit where it is (--dry-run needs none)\n"
    )
    assert not (tmp_path / "r").exists()


def test_without_submitit_one_line(home, tmp_path):
    code = "import sys; sys.modules['submitit'] = None; from launch.main import main; sys.exit(main())"
    words = ["submit", "train", str(home / "c.yaml"), "--cluster", cluster_file(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    line = "hrgan: error: hrgan submit: submitit is not installed: pip install 'hrgan[slurm]'\n"
    assert (done.returncode, done.stderr) == (2, line)
