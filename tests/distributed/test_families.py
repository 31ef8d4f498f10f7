"""Every family over real gloo processes: ranks agree to the bit, and with one process to rounding."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch

from pipeline.models.registry import FAMILIES
from tests.distributed.gang import run_gang

pytestmark = pytest.mark.slow
WORLDS = {1: ("replicated",), 2: ("replicated", "bucketed")}
SPLIT = ("zero1", "zero2", "zero2+recompute")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    out = tmp_path_factory.mktemp("families")
    for world, kinds in WORLDS.items():
        run_gang("family_ranks.py", world, str(out), "1", *kinds)
    return {
        (kind, world, rank): torch.load(out / f"{kind}-world{world}-rank{rank}.pt", weights_only=True)
        for world, kinds in WORLDS.items()
        for kind in kinds
        for rank in range(world)
    }


def of(results, world: int, rank: int, name: str, kind: str = "replicated") -> dict[str, torch.Tensor]:
    return {key: value for key, value in results[kind, world, rank].items() if key.startswith(f"{name}/")}


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_ranks_agree_to_the_bit(results, name):
    first, second = of(results, 2, 0, name), of(results, 2, 1, name)
    assert first
    for key, value in first.items():
        assert torch.equal(second[key], value), key


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_buckets_sent_during_the_backward_pass_change_nothing_to_the_bit(results, name):
    """Of two numbers there is one sum; every phase, with all penalties."""
    flat, bucketed = of(results, 2, 0, name), of(results, 2, 1, name, "bucketed")
    assert bucketed.keys() == flat.keys()
    for key, value in flat.items():
        assert torch.equal(bucketed[key], value), key


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_two_ranks_equal_one_process_to_rounding(results, name):
    """The first step's moments, its gradients: Adam turns rounding of tiny ones into whole steps, which a
    lazy penalty's gradients then see."""
    alone, together = of(results, 1, 0, name), of(results, 2, 0, name)
    compared = 0
    for key, value in alone.items():
        if "exp_avg" in key or key.endswith(
            ("square_avg", "momentum_buffer", "running_mean", "running_var", "magnitude")
        ):
            scale = value.abs().max()
            assert (together[key] - value).abs().max() <= 0.02 * scale + 2e-7, key
            compared += 1
    assert compared > 10


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    out = tmp_path_factory.mktemp("split")
    run_gang("family_ranks.py", 2, str(out), "1", *SPLIT)
    return {kind: torch.load(out / f"{kind}-world2-rank0.pt", weights_only=True) for kind in SPLIT}


@pytest.mark.skipif(find_spec("deepspeed") is None, reason="deepspeed: not installed")
@pytest.mark.parametrize("kind", SPLIT)
@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_zero_equals_replicated_to_rounding(results, split, name, kind):
    whole = of(results, 2, 0, name)
    parts = {key: value for key, value in split[kind].items() if key.startswith(f"{name}/")}
    assert parts.keys() == whole.keys()
    for key, value in whole.items():
        # Biases ahead of a batch normalisation have gradients of rounding alone, which Adam scales up.
        least = 1e-5 if "/networks/" in key else 1e-7
        if "exp_avg" in key or key.endswith((".step", "running_mean", "running_var")) or "/networks/" in key:
            scale = value.abs().max()
            assert (parts[key] - value).abs().max() <= 0.01 * scale + least, key
