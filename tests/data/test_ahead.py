"""Shards that are brought before they are read: those that the order comes to next, and no more than fit."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.local import LocalShards
from pipeline.data.stores.place import StoreSettings, place_of
from pipeline.data.streaming.ahead import Ahead, Stride, ahead_of, warn_of_small_cache
from pipeline.data.streaming.lanes import Order
from tests.data.sets import make_set
from tools.torture.faulty_store import FaultyStore


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=12),
    st.integers(1, 9),
    st.integers(0, 300),
    st.integers(),
)
def test_stretches_are_where_a_lane_comes_to_another_shard(
    counts: list[int], lanes: int, position: int, seed: int
) -> None:
    order = Order(counts, seed=seed % 2**32, lanes=lanes, window=7)
    read = [(p, order.locate(p)) for p in range(position, position + lanes * 60, lanes)]
    # By the definition: where shard or epoch differ from those of the lane's sample before.
    expected = [
        (p, place.shard)
        for (p, place), before in zip(read, [None, *(place for _, place in read)], strict=False)
        if before is None or (place.shard, place.epoch) != (before.shard, before.epoch)
    ]
    found = []
    for start, shard in order.stretches(position):
        if start > read[-1][0]:
            break
        found.append((start, shard))
    assert found == expected


class Slow(LocalShards):
    """Shards that take a moment each, and are noted."""

    def __init__(self, index: ShardIndex) -> None:
        super().__init__(index)
        self.brought: list[str] = []

    def bring(self, shard, given_up) -> None:
        self.brought.append(shard.name)
        time.sleep(0.002)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> ShardIndex:
    return make_set(tmp_path_factory.mktemp("set"), 4 * 24, shard_size=4)


def settled(slow: Slow) -> int:
    count = -1
    while count != len(slow.brought):
        count = len(slow.brought)
        time.sleep(0.1)
    return count


def test_so_many_are_brought_before_they_are_read_and_in_their_order(index: ShardIndex) -> None:
    order, slow = Order([4] * 24, seed=3, lanes=2), Slow(index)
    ahead = Ahead(slow, index, order, Stride(0, 1, 8), 5)
    ahead.begin_at(0)
    # The first shard of the first lane is read at 0: it does not count.
    assert settled(slow) == 6
    ahead.begin_at(40)
    count = settled(slow)
    ahead.close()
    stretches = sorted(
        (start, index.shards[shard].name)
        for lane in range(2)
        for (start, shard), _ in zip(order.stretches(lane), range(20), strict=False)
    )
    assert sorted(slow.brought) == sorted(name for _, name in stretches[:count])
    assert sum(start <= 40 for start, _ in stretches) + 5 == count


def test_all_that_a_rank_reads_is_brought_and_nothing_else(index: ShardIndex) -> None:
    order = Order([4] * 24, seed=3, lanes=4)
    for step, first in ((1, 0), (2, 1), (3, 2), (4, 3), (8, 5)):
        slow = Slow(index)
        ahead = Ahead(slow, index, order, Stride(first, step, 8), 3)
        positions = range(first, first + 70 * step, step)
        for position in positions:
            ahead.begin_at(position)
            time.sleep(0.001)
        settled(slow)
        ahead.close()
        read = {index.shards[order.locate(p).shard].name for p in positions if p < 96}
        assert read <= set(slow.brought)
        lanes = {p % 4 for p in positions}
        ever = {index.shards[order.locate(p).shard].name for p in range(1200) if p % 4 in lanes}
        assert set(slow.brought) <= ever


def test_it_ends_at_once_also_in_a_download(tmp_path: Path) -> None:
    make_set(tmp_path / "set", 64)
    with FaultyStore(
        tmp_path, lambda method, name, times: "stall" if method == "GET" and times else None
    ) as store:
        settings = StoreSettings(str(tmp_path / "cache"), silence_seconds=1)
        index = ShardIndex.read(place_of(f"{store.url}/set", settings))
        stalled = Ahead(LocalShards(index), index, Order([16] * 4, seed=1, lanes=2), Stride(0, 1, 8), 4)
        stalled.begin_at(0)
        start = time.monotonic()
        stalled.close()
        assert time.monotonic() - start < 10


def test_nothing_is_brought_ahead_into_a_cache_that_what_is_read_fills(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_set(tmp_path / "set", 64)
    order = Order([16] * 4, seed=1, lanes=3)
    with FaultyStore(tmp_path) as store:
        for shards, most in ((2, None), (3.5, None), (4.5, 1), (50, 3)):
            size = max(path.stat().st_size for path in (tmp_path / "set").glob("*.tar"))
            place = place_of(f"{store.url}/set", StoreSettings(str(tmp_path / "c"), shards * size / 1e9))
            index = ShardIndex.read(place)
            ahead = ahead_of(index, order, Stride(0, 1, 8))
            assert (None if ahead is None else ahead._most) == most
            warn_of_small_cache(index, 3)
            said = capsys.readouterr().err
            assert ("holds 2 of the 3 shards" in said) == (shards == 2)
    disk = ShardIndex.read(tmp_path / "set")
    assert ahead_of(disk, order, Stride(0, 1, 8)) is None
    warn_of_small_cache(disk, 3)
    assert not capsys.readouterr().err
