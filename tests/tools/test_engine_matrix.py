"""The engine matrix: what its cells say, and that they say rounding for a family that grows."""

from __future__ import annotations

import math
from importlib.util import find_spec

import pytest
import torch

from pipeline.storage.tensors import save_tensors
from tests.distributed.gang import run_module
from tools.torture.engine_matrix import cell, continued, difference, run, table
from tools.torture.matrix_ranks import CONTROL, KINDS, SAVERS, VARIANTS

FAMILY = "progan"


def write(path, **changes: torch.Tensor):
    tensors = {"networks/w": torch.tensor([1.0, -4.0]), "optimizers/w": torch.ones(2)}
    save_tensors(path, {**tensors, **{f"networks/{name}": value for name, value in changes.items()}})
    return path


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 0.0),
        ({"w": torch.tensor([1.5, -4.0])}, 0.125),
        ({"w": torch.tensor([float("nan"), -4.0])}, math.inf),
        ({"another": torch.ones(1)}, math.inf),
    ],
)
def test_a_difference_is_relative_to_the_largest_of_its_tensor(tmp_path, changes, expected):
    assert difference(write(tmp_path / "a", **changes), write(tmp_path / "b")) == expected


def test_tiny_tensors_count_as_a_thousandth_and_missing_files_as_none(tmp_path):
    ours, theirs = (
        write(tmp_path / "a", w=torch.tensor([2e-6])),
        write(tmp_path / "b", w=torch.tensor([1e-6])),
    )
    assert difference(ours, theirs) == pytest.approx(1e-3)
    assert math.isnan(difference(ours, tmp_path / "none"))


def test_a_table():
    assert table("x", ["a", "b"], [("r", [0.0, math.nan]), ("s", [2e-7, 1.0])]).splitlines() == [
        "| x | a | b |",
        "|---|---|---|",
        "| r | 0 | - |",
        "| s | 2e-07 | 1e+00 |",
    ]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("matrix")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tools.torture.engine_matrix.run_module", run_module)
        run(folder, [FAMILY], (1, 2))
    return folder


@pytest.mark.slow
@pytest.mark.skipif(find_spec("deepspeed") is None, reason="deepspeed: not installed")
def test_every_engine_and_every_checkpoint_differ_by_rounding(out):
    """As much as last bits make of a run, a few times over: they meet other values on the way."""
    least = 10 * cell(out, "train", FAMILY, CONTROL, 1) + 1e-5
    places = [(kind, world) for kind in KINDS for world in (1, 2)]
    found = {place: cell(out, "train", FAMILY, *place) for place in places}
    found |= {(s, p): continued(out, FAMILY, s, *p) for s in SAVERS if s[1] <= 2 for p in places}
    assert {place: value for place, value in found.items() if not value <= least} == {}
    for variant in VARIANTS:
        if not math.isnan(cell(out, variant, FAMILY, CONTROL, 1)):
            least = 10 * cell(out, variant, FAMILY, CONTROL, 1) + 1e-5
            assert all(cell(out, variant, FAMILY, kind, 2) <= least for kind in KINDS), variant
