"""The order at a cluster's size, by the bench's own path: bounded memory, each sample once an epoch."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.data.shards.index import ShardIndex
from tools.bench.order import bench, epoch_of, lay_out, make_order

SAMPLES, SHARD, RANKS = 20_000, 100, 64


def test_all_ranks_together_draw_every_sample_once_an_epoch(tmp_path):
    lay_out(tmp_path / "data", SAMPLES, SHARD)
    index = ShardIndex.read(tmp_path / "data")
    order = make_order(index, RANKS)
    for epoch in (0, 2):
        drawn = np.concatenate([epoch_of(order, index, rank, RANKS, epoch) for rank in range(RANKS)])
        assert np.bincount(drawn, minlength=SAMPLES).tolist() == [1] * SAMPLES


@pytest.mark.slow
def test_memory_and_seeking_are_bounded():
    row = bench(1_000_000, 4096, SHARD, sampled=4)
    assert row["samples"] == 1_000_000
    assert row["repeated"] == 0
    assert row["sampled_images"] == pytest.approx(4 * 1_000_000 / 4096, abs=4)
    assert row["megabytes"] < 200  # 10,000 shards; caches of windows and tables have fixed sizes
    assert row["middle_seconds"] < 10
