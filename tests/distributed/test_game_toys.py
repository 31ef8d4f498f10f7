"""Heads, levels and groups over real gloo processes: ranks agree to the bit, and with one to rounding."""

from __future__ import annotations

import pytest
import torch

from tests.distributed.gang import run_gang
from tests.game_toys import TOYS

WORLDS = (1, 2)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    out = tmp_path_factory.mktemp("toys")
    for ranks in WORLDS:
        run_gang("game_ranks.py", ranks, str(out))
    return {
        (world, rank): torch.load(out / f"world{world}-rank{rank}.pt", weights_only=True)
        for world in WORLDS
        for rank in range(world)
    }


def of(found: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    return {key: value for key, value in found.items() if key.startswith(f"{name}/")}


@pytest.mark.parametrize("name", TOYS)
def test_ranks_agree_to_the_bit(results, name):
    first, second = of(results[2, 0], name), of(results[2, 1], name)
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert torch.equal(second[key], value), key


@pytest.mark.parametrize("name", TOYS)
def test_two_ranks_equal_one_process_to_rounding(results, name):
    """The step's moments, which are its gradients; what is remembered; running statistics."""
    alone, together = of(results[1, 0], name), of(results[2, 0], name)
    compared = 0
    for key, value in alone.items():
        if "exp_avg" in key or "/memory/" in key or "running_" in key:
            torch.testing.assert_close(together[key], value, rtol=1e-3, atol=1e-6, msg=key)
            compared += 1
    assert compared > 10
