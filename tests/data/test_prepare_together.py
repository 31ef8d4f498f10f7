"""prepare: several processes on one folder make the data set that one makes alone."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.records import Blocks, Record
from pipeline.data.preparing.settings import Asked
from pipeline.data.shards.index import ShardIndex, read_unfinished
from pipeline.data.shards.samples import keys
from pipeline.data.shards.verify import verify
from pipeline.errors import UserError
from tests.data.feeds import call, file, fingerprint, folder, noise, plain

ASKED = Asked(resolution=16, shard_size=5, seed=3)
_SLOW = """
import sys, time
from pipeline.data.preparing import render
from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
fast = render.encode
def slow(*arguments):
    time.sleep(0.05)
    return fast(*arguments)
render.encode = slow
asked = Asked(resolution=16, shard_size=5, seed=3)
prepare(sys.argv[1], sys.argv[2], asked, workers=int(sys.argv[3]), say=print)
"""


def _crowd(root: Path) -> Path:
    files = {f"c{n % 3}/{n:03d}.png": file(noise(20 + n % 7, 24, n)) for n in range(60)}
    return folder(root / "in", {**files, "c0/bad.png": b"x", "c2/empty.png": b""})


def _start(source: Path, out: Path, workers: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _SLOW, str(source), str(out), str(workers)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_three_processes_of_which_one_is_killed(tmp_path: Path) -> None:
    source, out = _crowd(tmp_path), tmp_path / "out"
    alone = prepare(source, tmp_path / "alone", ASKED, workers=1)
    processes = [_start(source, out, workers) for workers in (2, 1, 1)]
    end = time.monotonic() + 100
    while len(list(out.glob(".work/*.json"))) < 2 and time.monotonic() < end:
        time.sleep(0.02)
    processes[0].send_signal(signal.SIGKILL)
    ends = [process.wait(100) for process in processes]
    for process in processes:
        assert process.stdout is not None
        process.stdout.close()
    assert ends == [-signal.SIGKILL, 0, 0]
    assert fingerprint(out) == fingerprint(tmp_path / "alone")
    verify(ShardIndex.read(out))
    again = prepare(source, out, ASKED, workers=1)  # there is nothing left to do, and it says the same
    assert (again.resumed, again.skipped, again.class_counts) == (60, alone.skipped, alone.class_counts)


def test_an_unreadable_picture_leaves_its_block_shorter(tmp_path: Path) -> None:
    index = ShardIndex.read(prepare(_crowd(tmp_path), tmp_path / "out", ASKED, workers=1).out)
    assert sum(shard.count for shard in index.shards) == 60
    assert len(index.shards) == 13  # as many as without the two, which were 62 in all
    for shard in index.shards:
        block = int(shard.name[5:10])
        places = [int(key) for key in keys(index.root / shard.name)]
        assert set(places) <= set(range(block * 5, block * 5 + 5))


def test_what_was_counted_in_parts_adds_up(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", {f"{n}.png": plain(n, (8 + 8 * (n % 2), 16)) for n in range(20)})
    parts = prepare(source, tmp_path / "parts", Asked(resolution=16, shard_size=3), workers=1)
    whole = prepare(source, tmp_path / "whole", Asked(resolution=16), workers=1)
    assert (parts.count, parts.enlarged) == (whole.count, whole.enlarged) == (20, 10)


def test_a_beginning_of_an_older_version_is_refused_in_one_line(tmp_path: Path) -> None:
    source = _crowd(tmp_path)
    call(tmp_path, source, shard_size=5)
    path = tmp_path / "out/index.json"
    content = json.loads(path.read_text())
    content["shards"] = content["shards"][:3]
    content |= {"complete": False, "count": sum(shard["count"] for shard in content["shards"])}
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="was begun by an older version and cannot be finished"):
        call(tmp_path, source, shard_size=5)


@pytest.mark.parametrize(
    "change",
    [
        {"block": 1},
        {"counts": {"count": 4}},
        {"left_out": [["a", "b"]]},
        {"shard": None},
        {"more": 1},
    ],
)
def test_a_record_that_does_not_fit_its_block_counts_as_none(
    tmp_path: Path, change: dict[str, object]
) -> None:
    index = ShardIndex(tmp_path, (), 4, 4, 1, complete=False)
    blocks = Blocks(index, 5, 10)
    held = blocks.take()
    assert held is not None
    for place in held.places:
        held.leave_out(f"{place}.png", "is empty")
    held.finish()
    assert blocks.record(0) == Record(0, None, left_out=[(f"{n}.png", "is empty") for n in range(5)])
    path = tmp_path / ".work/00000.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    found = Blocks(index, 5, 10).record(0)
    assert (found is None) == (change != {"shard": None})


def test_a_strict_call_that_came_to_nothing_leaves_no_beginning(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", {"a.png": plain(1), "b.png": b"x"})
    with pytest.raises(UserError, match="mend or remove it"):
        call(tmp_path, source, on_unreadable="error")
    (source / "b.png").write_bytes(plain(2))
    assert call(tmp_path, source, on_unreadable="error").count == 2


def test_a_strict_call_keeps_what_is_finished(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", {**{f"{n}.png": plain(n) for n in range(20)}, "bad.png": b"x"})
    with pytest.raises(UserError, match=r"bad\.png: not an image"):
        call(tmp_path, source, on_unreadable="error", shard_size=1)
    assert not read_unfinished(tmp_path / "out").complete
    assert call(tmp_path, source, shard_size=1).count == 20
