"""The benchmark of operations: its rows, and what it says to wrong peers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import ops
from tools.bench import ops as bench_ops
from tools.bench.op_races import demand
from tools.bench.op_rows import SIZES, cases
from tools.bench.ops import SpeedTarget
from tools.bench.timing import Contestant, race

KEYS = {"op", "size", "mode", "ms", "vs_reference", "vs_peer", "floor_ms"}


@pytest.fixture(autouse=True)
def _policy_and_threads_stay():
    before, threads = ops.backend(), torch.get_num_threads()
    yield
    ops.use(before)
    torch.set_num_threads(threads)


def test_quick_writes_rows_in_the_common_shape(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "rows.json"
    options = ["--quick", "--only", "pixel_norm", "--rounds", "1", "--memory", "system"]
    bench_ops.main([*options, "--json", str(out)])
    told = json.loads(out.read_text())
    assert set(told) == {"machine", "rows"}
    assert all(row.keys() >= KEYS for row in told["rows"])
    timed = [row for row in told["rows"] if row["op"] == "pixel_norm"]
    assert {row["mode"] for row in timed} == {"fwd", "fwd+bwd"}
    assert all(row["ms"] > 0 and row["floor_ms"] > 0 and row["vs_reference"] > 0 for row in timed)
    assert all(row["vs_peer"] is None for row in timed)
    assert "pixel_norm" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("peer", "said"),
    [
        ("rosinality={folder}", "no checkout of rosinality there"),
        ("nobody={folder}", "known names: stylegan2-ada-pytorch, rosinality"),
        ("rosinality", "known names: stylegan2-ada-pytorch, rosinality"),
    ],
)
def test_a_wrong_peer_is_one_line_and_exit_code_2(
    peer: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        bench_ops.main(["--quick", "--memory", "system", "--peer", peer.format(folder=tmp_path / "none")])
    lines = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 2
    assert len(lines) == 1
    assert said in lines[0]


def test_every_case_computes_and_names_its_demand() -> None:
    for case in cases(SIZES["quick"], "cpu"):
        inputs = case.inputs()
        result = case.ours(*inputs)
        assert result.numel() == pytest.approx(case.results * inputs[0].numel()), case.op
        forward, both = (demand(case, inputs[0], mode) for mode in ("fwd", "fwd+bwd"))
        assert 0 < 2 * forward[0] <= both[0], case.op


def test_rounds_take_turns_and_each_is_prepared() -> None:
    seen: list[str] = []
    contestants = {
        name: Contestant(
            lambda name=name: seen.append(name), lambda name=name: seen.append(f"prepare {name}")
        )
        for name in ("a", "b")
    }
    result = race(contestants, 2, lambda call: (call(), 1.0)[1])
    assert seen[:8] == ["prepare a", "a", "prepare b", "b"] * 2
    assert result.ms("a") == 1000
    assert len(result.seconds["b"]) == 2


def test_a_target_speaks_of_its_rows_alone() -> None:
    target = SpeedTarget("generator forward", 2, mode="fwd", size="1024px", peer="p")
    row = {
        "op": "generator forward",
        "size": "1024px batch 1",
        "mode": "fwd",
        "dtype": "float32",
        "peer": "p",
    }
    assert target.fits(row)
    assert not target.fits({**row, "dtype": "bfloat16"})
    assert not target.fits({**row, "peer": None})
