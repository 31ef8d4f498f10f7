"""The replicated engine over real gloo processes: ranks agree to the bit, with one alone to rounding."""

from __future__ import annotations

import math

import pytest
import torch

from tests.distributed.gang import run_gang

STEPS = 9


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    out = tmp_path_factory.mktemp("ranks")
    for ranks in (1, 2, 4):
        run_gang("toy_ranks.py", ranks, str(out), str(STEPS), "-1")
    return {
        (world, rank): torch.load(out / f"world{world}-rank{rank}.pt", weights_only=True)
        for world in (1, 2, 4)
        for rank in range(world)
    }


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_agree_to_the_bit(results, world):
    for rank in range(1, world):
        for name, value in results[world, 0].items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(results[world, rank][name], value), name


@pytest.mark.parametrize("world", [2, 4])
def test_any_world_equals_one_process_to_rounding(results, world):
    for name, value in results[1, 0].items():
        if isinstance(value, torch.Tensor) and name != "stop_votes":
            torch.testing.assert_close(results[world, 0][name], value, rtol=1e-3, atol=1e-5, msg=name)
    ours, alone = results[world, 0]["figures"], results[1, 0]["figures"]
    assert ours.keys() == alone.keys()
    for name, value in alone.items():
        assert math.isclose(ours[name], value, rel_tol=1e-3, abs_tol=1e-6), name


def test_one_rank_that_wants_to_stop_is_heard_by_all(results):
    assert results[1, 0]["stop_votes"] == 0
    assert all(results[2, rank]["stop_votes"] == 0.5 for rank in range(2))
    assert all(results[4, rank]["stop_votes"] == 0.25 for rank in range(4))


def test_a_bad_gradient_on_one_rank_skips_the_update_on_all(tmp_path):
    run_gang("toy_ranks.py", 2, str(tmp_path), "3", "1")
    first, second = (torch.load(tmp_path / f"world2-rank{r}.pt", weights_only=True) for r in range(2))
    for name, value in first.items():
        if isinstance(value, torch.Tensor) and "memory" not in name:
            assert torch.isfinite(value).all(), name
            assert torch.equal(second[name], value), name
    assert first["optimizers/discriminator.body.1.weight.step"] == 3  # D, r1, D of 4: the third D was skipped
    assert first["optimizers/generator.body.0.weight.step"] == 3
