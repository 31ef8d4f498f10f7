"""`hrgan submit prepare` without a cluster, and what `hrgan runs` says of data sets that are being made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from launch.cluster.data_sets import data_set_states
from launch.cluster.queue import Queue, parse_queue
from launch.main import main
from pipeline.data.preparing.records import Blocks
from pipeline.data.shards.index import ShardIndex
from tests.bad_files import BAD
from tests.launch.clusters import cluster_file, dry, options, sruns


def begun(root: Path, made: int) -> None:
    root.mkdir(parents=True)
    blocks = Blocks(ShardIndex(root, (), 4, 4, 1, complete=False), 5, 33)
    for _ in range(made):
        held = blocks.take()
        assert held is not None
        for place in held.places:
            held.leave_out(f"{place}.png", "is empty")
        held.finish()


def test_how_far_each_is_and_which_jobs_make_it(tmp_path, capsys):
    begun(tmp_path / "sets/a", 3)
    begun(tmp_path / "sets/b", 0)
    lines = [
        f"17_0|17|RUNNING|None|main|hrgan prepare {tmp_path}/sets/a",
        f"17_1|18|PENDING|Priority|main|hrgan prepare {tmp_path}/sets/a",
    ]
    states = data_set_states(tmp_path, Queue(parse_queue("\n".join(lines))))
    assert [str(state).removeprefix(f"{tmp_path}/sets/") for state in states] == [
        "a: data set of 33 pictures, 3 of 7 blocks made; "
        "prepare 17_0 running, prepare 17_1 pending (Priority)",
        "b: data set of 33 pictures, 0 of 7 blocks made; no job in the queue",
    ]
    assert main(["runs", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[0].endswith("sets/a: data set of 33 pictures, 3 of 7 blocks "
                                                            "made; no job in the queue")  # fmt: skip
    assert main(["runs", str(tmp_path), "--json"]) == 0
    assert [one["made"] for one in json.loads(capsys.readouterr().out)["data_sets"]] == [3, 0]


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_plan_is_passed_over(tmp_path, bad):
    begun(tmp_path / "a", 1)
    BAD[bad](tmp_path / "a/.work/plan")
    assert data_set_states(tmp_path, Queue(None)) == []


def test_an_array_that_prepares_asks_for_no_gpu_and_runs_one_command(tmp_path, capsys):
    out = tmp_path / "a set"
    more = ("--tasks", 3, "--cluster", cluster_file(tmp_path))
    script = dry(capsys, "prepare", "demo:digits", out, "--resolution", 16, "--hold-out", "5%", *more)
    asked = options(script)
    assert asked["array"].startswith("0-2")
    assert (asked["nodes"], asked["ntasks-per-node"], asked["cpus-per-task"]) == ("1", "1", "6")
    assert "gpus-per-node" not in asked
    assert asked["mem"] == "25728M"  # a quarter, as one of four training processes has
    assert asked["comment"] == f"hrgan prepare {out}"
    (srun,) = sruns(script)
    assert srun[-6:] == ["demo:digits", str(out), "--resolution", "16", "--hold-out", "5%"]
    assert f"--output={out}/jobs/%A_%a_%t_log.out" in srun
    assert "scontrol requeue" in script
    assert not out.exists()
    alone = dry(capsys, "prepare", "demo:digits", out, "--tasks", 1, "--cluster", cluster_file(tmp_path))
    assert "array" not in options(alone)


def test_two_sets_without_pairs_are_one_array(tmp_path, capsys):
    out = tmp_path / "both"
    sets = ("prepare", "demo:digits", out, "--unpaired", "demo:digits-on-photographs", "--hold-out", "20%")
    cluster = ("--cluster", cluster_file(tmp_path))
    (srun,) = sruns(dry(capsys, *sets, "--tasks", 2, *cluster))
    assert srun[-6:] == list(map(str, sets[1:]))
    (out / "second").mkdir(parents=True)
    (out / "second/mine.txt").write_text("x")
    assert main(["submit", *map(str, sets), *map(str, cluster), "--dry-run"]) == 2
    assert "second: not empty (holds mine.txt)" in capsys.readouterr().err
    (out / "second/mine.txt").unlink()
    assert main(list(map(str, sets))) == 0
    assert main(["submit", *map(str, sets), *map(str, cluster), "--dry-run"]) == 2
    assert f"{out}: is complete" in capsys.readouterr().err
