"""Batch normalisation over two real gloo processes is that of one process on the whole batch."""

from __future__ import annotations

import pytest
import torch

from pipeline.models.layers import BatchNorm
from tests.distributed.gang import run_gang
from tests.distributed.norm_ranks import batch, run

RANKS = 2


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    out = tmp_path_factory.mktemp("norm")
    run_gang("norm_ranks.py", RANKS, str(out))
    return [torch.load(out / f"rank{rank}.pt", weights_only=True) for rank in range(RANKS)]


def test_outputs_and_running_statistics(ranks):
    whole = run(batch())
    for rank, results in enumerate(ranks):
        torch.testing.assert_close(results["y"], whole["y"][rank::RANKS])
        torch.testing.assert_close(results["mean"], whole["mean"])
        torch.testing.assert_close(results["var"], whole["var"])


def test_gradients(ranks):
    """A rank's loss is the mean of its own images, so that the mean over ranks is the whole's."""
    whole = run(batch())
    for name in ("gain", "bias"):
        torch.testing.assert_close(sum(r[name] for r in ranks) / RANKS, whole[name])
    for rank, results in enumerate(ranks):
        torch.testing.assert_close(results["x"] / RANKS, whole["x"][rank::RANKS])


def test_a_process_may_keep_to_its_own_batch(ranks):
    for rank, results in enumerate(ranks):
        own = BatchNorm(3)(batch()[rank::RANKS]).detach()
        torch.testing.assert_close(results["alone"], own)
        assert (results["alone"] - ranks[rank]["y"]).abs().max() > 1e-3
