"""A rank that dies or hangs is named in time, and one that is merely slow or done is not."""

from __future__ import annotations

import itertools
import re
import threading
import time

import pytest

from pipeline.contracts import Process
from pipeline.engines.contact import lost_contact
from pipeline.engines.heartbeat import Heartbeat, RankProgress, Sign, Watch


def sign(beat: int, step: int = 3, collectives: int = 30) -> Sign:
    return Sign("node7", beat, step, 8 * step, collectives)


HERE = RankProgress(3, 24, 30)


def test_silence_names_rank_host_and_last_step():
    watch = Watch(5, silence=60, patience=1800, now=0.0)
    assert watch.look(sign(1), HERE, 10) is None
    assert watch.look(sign(2), HERE, 20) is None
    assert watch.look(sign(2), HERE, 79) is None
    why = watch.look(sign(2), HERE, 81)
    assert why == "has given no sign of life for 61 s"
    start = "rank 5 on node7 has given no sign of life for 61 s; the last step was "
    assert watch.describe(why, RankProgress(2, 16, 20)).startswith(f"{start}3, at 24 images; ")
    assert watch.describe(why, RankProgress(4, 32, 41)).startswith(f"{start}4, at 32 images; ")


def test_a_rank_that_never_came_is_silent_too():
    watch = Watch(1, silence=60, patience=1800, now=0.0)
    assert watch.look(None, HERE, 59) is None
    assert "no sign of life" in watch.look(None, HERE, 61)


def test_a_rank_that_lives_but_is_behind_hangs():
    watch = Watch(1, silence=60, patience=300, now=0.0)
    ahead = RankProgress(3, 24, 31)
    for now in range(0, 301, 10):
        assert watch.look(sign(now), ahead, now) is None
    assert watch.look(sign(310), ahead, 310).startswith("hangs: others have waited for it for 310 s")


def test_a_rank_that_moves_or_is_not_behind_does_not_hang():
    watch = Watch(1, silence=60, patience=300, now=0.0)
    for now in range(0, 2000, 10):
        assert watch.look(sign(now, collectives=30), RankProgress(3, 24, 30), now) is None
    watch = Watch(1, silence=60, patience=300, now=0.0)
    for now in range(0, 2000, 10):
        assert watch.look(sign(now, collectives=now // 200), RankProgress(3, 24, 10**6), now) is None


def test_a_rank_that_takes_its_file_away_has_ended_well():
    watch = Watch(1, silence=60, patience=300, now=0.0)
    assert watch.look(sign(1), HERE, 1) is None
    assert watch.look(None, HERE, 2) is None
    assert watch.look(None, HERE, 1000) is None


def hearts(folder, world: int, silence: float) -> tuple[list[Heartbeat], list[list[str]]]:
    said: list[list[str]] = [[] for _ in range(world)]
    made = [
        Heartbeat(folder, Process(r, world), lambda: HERE, silence=silence, patience=60, end=said[r].append)
        for r in range(world)
    ]
    return made, said


def test_the_one_before_it_in_the_ring_names_a_silent_rank(tmp_path):
    made, said = hearts(tmp_path, 3, silence=1.5)
    made[1]._live = lambda: None  # a first sign, then silence
    with made[0].running(), made[1].running(), made[2].running():
        deadline = time.monotonic() + 20
        while not said[0] and time.monotonic() < deadline:
            time.sleep(0.05)
    assert len(said[0]) == 1
    assert said[0][0].startswith("rank 1 on ")
    assert said[1] == said[2] == []


def test_nobody_is_named_while_all_live_and_files_go_at_the_end(tmp_path):
    folder = tmp_path / "heartbeats"
    made, said = hearts(folder, 2, silence=3)
    with made[1].running():
        with made[0].running():
            time.sleep(1.5)
            assert len(list(folder.iterdir())) == 2
        time.sleep(4)  # rank 0 is done, rank 1 is not
    assert said == [[], []]
    assert not folder.exists()


def test_a_rank_that_fails_leaves_its_file_and_is_named(tmp_path):
    made, said = hearts(tmp_path, 2, silence=1.5)
    with made[0].running():
        with pytest.raises(MemoryError), made[1].running():
            raise MemoryError
        deadline = time.monotonic() + 20
        while not said[0] and time.monotonic() < deadline:
            time.sleep(0.05)
    assert said[0][0].startswith("rank 1 on ")


def test_alone_there_are_no_files_and_no_threads(tmp_path):
    before = threading.active_count()
    heart = Heartbeat(tmp_path / "none", Process(), lambda: HERE, silence=1, patience=1)
    with heart.running():
        assert threading.active_count() == before
    assert not (tmp_path / "none").exists()


def test_what_a_group_raises_when_a_peer_is_gone():
    assert lost_contact(RuntimeError("[../gloo/transport/tcp/pair.cc:525] Connection closed by peer"))
    assert not lost_contact(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_an_exchange_in_which_nobody_is_behind_ends_too(tmp_path):
    """As where the network is cut under NCCL, which is told to end nothing itself."""
    said = {0: [], 1: []}
    count = itertools.count()

    def moves() -> RankProgress:
        return RankProgress(3, 24, next(count))

    hearts = [
        Heartbeat(tmp_path, Process(r, 2), where, silence=9, patience=60, standstill=3, end=said[r].append)
        for r, where in enumerate((moves, lambda: RankProgress(3, 24, 5)))
    ]
    with hearts[0].running(), hearts[1].running():
        deadline = time.monotonic() + 30
        while not said[1] and time.monotonic() < deadline:
            time.sleep(0.05)
    assert said[0] == []
    (line,) = said[1]
    assert re.match(
        r"rank 1 on \S+ waits in an exchange for [0-9]+ s, the network .* is cut or too slow; ", line
    )
    assert line.endswith(
        "the last step was 3, at 24 images; the same command goes on from the last checkpoint"
    )
