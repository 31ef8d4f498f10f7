"""Any number of processes measures the same, to the bit, and one that dies ends the job by name."""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from launch.cluster.processes import free_port, rank_variables
from tests.distributed.gang import run_gang
from tests.evaluation.worlds import write_shards, write_toy_snapshot
from tests.small_run import ROOT, environment
from tests.warm import start_warm


def evaluated(root: Path, ranks: int) -> list[dict[str, Any]]:
    """The figures of a snapshot and of a data set."""
    run, measured = root / f"run-{ranks}", root / f"set-{ranks}"
    write_toy_snapshot(run, 8, classes=("a", "b", "c"))
    run_gang("evaluation_ranks.py", ranks, str(root / f"data-{ranks}"), str(run), str(measured))
    # Neither claims nor signs of life are left.
    (path,), (of_set,) = ((folder / "metrics").iterdir() for folder in (run, measured))
    assert path.name == "000000000008.json"
    return [json.loads(one.read_text())["metrics"] for one in (path, of_set)]


@pytest.mark.slow
def test_one_two_and_three_processes_give_the_same_bits(tmp_path: Path) -> None:
    for ranks in (1, 2, 3):
        write_shards(tmp_path / f"data-{ranks}", 40, classes=("a", "b", "c"))
        write_shards(tmp_path / f"set-{ranks}", 33, classes=("a", "b", "c"), rough=0.2)
    both = evaluated(tmp_path, 1)
    alone, of_set = both
    by_features = {f"{name}-coarse" for name in ("fid", "kid", "is", "pr", "dc", "cmmd")}
    assert set(alone) == {*by_features, "swd", "msssim", "class_accuracy"}
    assert len(set(alone["cmmd-coarse"]["by_set"])) == 2
    assert alone["fid-coarse"]["value"] > 0
    assert alone["fid-coarse"]["seeds"] == 2
    assert len(set(alone["fid-coarse"]["by_set"])) == 2
    assert alone["fid-coarse"]["low"] < alone["fid-coarse"]["value"] < alone["fid-coarse"]["high"]
    assert set(alone["fid-coarse"]["classes"]) == {"a", "b"}  # squares modulo 3
    assert 0 < alone["dc-coarse"]["coverage"] < 1
    assert set(of_set) == set(alone)
    assert of_set["fid-coarse"]["count"] == 33
    for ranks in (2, 3):
        assert evaluated(tmp_path, ranks) == both


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_rank_that_dies_or_hangs_ends_the_job_by_name(tmp_path: Path, number: signal.Signals) -> None:
    """As under srun, where nobody else ends the other rank."""
    write_shards(tmp_path / "data", 40)
    write_toy_snapshot(tmp_path / "run", 8)
    port = free_port()
    program = ["-m", "tests.distributed.dying_evaluation"]
    program += [str(tmp_path / "data"), str(tmp_path / "run"), str(int(number))]
    ranks = [start_warm(program, environment() | rank_variables(rank, 2, port), ROOT) for rank in range(2)]
    with ranks[1] as dying:
        said = ranks[0].communicate(timeout=120)[1]
        dying.kill()
    assert ranks[0].returncode == 1
    line = f"hrgan: error: rank 1 on {socket.gethostname()} has given no sign of life for"
    assert line in said
    assert "; the same command goes on" in said
    assert "Traceback" not in said
