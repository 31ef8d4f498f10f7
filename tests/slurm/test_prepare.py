"""`hrgan submit prepare` on a real SLURM: an array on two nodes, of which a task is killed."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from launch.cluster.queue import ask_queue
from launch.main import main
from pipeline.data.shards.index import ShardIndex
from tests.small_run import ROOT

_SLOWER = """
import sys, time
from pipeline.data.preparing import render
fast = render.encode
def slow(*arguments):
    time.sleep(0.1)
    return fast(*arguments)
render.encode = slow
from launch.main import main
sys.exit(main())
"""


def contents(out: Path) -> dict[str, str]:
    """A hash of each file, in which the folder's own name, which stands in the command, does not count."""
    files = [path for path in out.rglob("*") if path.is_file() and path.parent.name != "jobs"]
    texts = {path: path.read_bytes().replace(str(out).encode(), b"OUT") for path in files}
    return {str(path.relative_to(out)): hashlib.sha256(text).hexdigest() for path, text in texts.items()}


def at_work(out: Path) -> list[psutil.Process]:
    """The tasks themselves, whose command names the data set."""
    found = []
    for process in psutil.process_iter(["cmdline", "name"]):
        command = process.info["cmdline"] or []
        if str(out) in command and "prepare" in command and "srun" not in process.info["name"]:
            found.append(process)
    return found


@pytest.mark.slow
def test_an_array_of_which_a_task_is_killed_makes_the_same_data_set(slurm, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SLURM_CONF", str(slurm.conf))
    monkeypatch.chdir(ROOT)
    program = tmp_path / "slower.py"
    program.write_text(_SLOWER)
    cluster = {**yaml.safe_load((ROOT / "configs/cluster/sandbox.yaml").read_text())}
    cluster["program"] = [sys.executable, str(program)]
    cluster["environment"] = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump(cluster))
    out = tmp_path / "out"
    command = ["prepare", "demo:digits", str(out), "--resolution", "8", "--grey", "--count", "180"]
    more = [
        "--shard-size",
        "12",
        "--workers",
        "1",
        "--tasks",
        "3",
        "--cluster",
        str(tmp_path / "cluster.yaml"),
    ]
    assert main(["submit", *command, *more]) == 0
    assert "3 jobs of 1 node x 1 process" in capsys.readouterr().out
    end = time.monotonic() + 300
    while len(list(out.glob(".work/*0*.json"))) < 3 and time.monotonic() < end:
        time.sleep(0.1)
    assert main(["runs", str(tmp_path), "--json"]) == 0
    (state,) = json.loads(capsys.readouterr().out)["data_sets"]
    assert (state["images"], state["blocks"]) == (180, 15)
    assert 3 <= state["made"] < 15
    assert all(job.startswith("prepare ") for job in state["jobs"])
    os.kill(at_work(out)[0].pid, signal.SIGKILL)
    while ask_queue().of(out) and time.monotonic() < end:
        time.sleep(0.5)
    logs = {path.name: path.read_text() for path in (out / "jobs").glob("*.out")}
    assert ShardIndex.read(out).count == 180, logs
    alone = [*command[:2], str(tmp_path / "alone"), *command[3:], "--shard-size", "12", "--workers", "1"]
    assert main(alone) == 0
    capsys.readouterr()
    assert contents(out) == contents(tmp_path / "alone")
    finished = [name for name, text in logs.items() if "180 images" in text]
    assert len(finished) == 2, logs  # all but the one that was killed
    assert main(["runs", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["data_sets"] == []
