"""The measure of gradients: what it must find, and that exact phases are as far from bfloat16 as promised."""

from __future__ import annotations

import pytest
import torch

import ops
from pipeline.config.load import load_config
from tests.small_run import ROOT
from tools.research.gradient_error import difference, last_bit_moved, main, rows, trained


@pytest.fixture(autouse=True)
def _backend():
    before = ops.backend()
    yield
    ops.use(before, devices=("cpu",))


def test_differences_are_relative_to_the_true_gradient():
    true = {"a": torch.tensor([3.0, 4.0]), "b": torch.tensor([12.0]), "none": torch.tensor([1e-9])}
    found = {"a": torch.tensor([3.0, 4.5]), "b": torch.tensor([12.0]), "none": torch.tensor([1.0])}
    whole, worst = difference(found, true)
    assert whole == pytest.approx((0.25 + 1) ** 0.5 / 13, rel=1e-6)
    assert worst == pytest.approx(0.1)
    assert difference(None, true) is None


def test_rounding_lies_between_the_last_bit_and_another_batch():
    ops.use("reference")
    case = trained(load_config(ROOT / "configs" / "stylegan2-32.yaml"), 0, resolution=16, batch=8, steps=1)
    before = [p.clone() for p in case.networks.generator.parameters()]
    with last_bit_moved(case.networks):
        moved = [p.clone() for p in case.networks.generator.parameters()]
    for old, new, now in zip(before, moved, case.networks.generator.parameters(), strict=True):
        assert torch.equal(old, now)
        assert ((new - old).abs() <= 2**-22 * old.abs() + 1e-44).all()
    assert any(not torch.equal(old, new) for old, new in zip(before, moved, strict=True))
    found = list(rows(case))
    assert {row["phase"] for row in found} >= {"generator", "discriminator", "r1"}
    for row in found:
        assert row["last_bit"][0] < row["tf32"][0] < row["another_batch"][0]
        if row["exact"]:
            assert row["bfloat16"] == (0, 0)


def test_the_command_prints_a_table(capsys, tmp_path):
    path = ROOT / "configs" / "dcgan-32.yaml"
    sizes = ["--resolution", "32", "--batch", "2", "--steps", "0", "--json", str(tmp_path / "out.json")]
    narrow = ["--set", "family.generator_channels=4", "--set", "family.discriminator_channels=4"]
    assert main([str(path), *sizes, *narrow]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| phase | TF32 |")
    assert all(line.split("|")[3].strip() == "-" for line in lines[2:])  # it has no bfloat16
    assert (tmp_path / "out.json").exists()
