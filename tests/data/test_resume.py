"""prepare: the same bytes however it is run, stopped and started."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from pipeline.data.shards.index import ShardIndex, read_unfinished
from pipeline.errors import UserError
from tests.data.feeds import call, file, fingerprint, folder, noise, plain, stored


def _crowd(root: Path) -> Path:
    files = {f"c{n % 3}/{n:03d}.png": file(noise(20 + n % 7, 24, n)) for n in range(60)}
    for n in (7, 23, 41):
        files[f"c0/bad{n}.png"] = b"x" * n
    return folder(root / "in", files)


def test_the_same_bytes_on_any_number_of_processes(tmp_path: Path) -> None:
    source = _crowd(tmp_path)
    reports = {}
    for workers in (1, 2, 5):
        out = tmp_path / str(workers)
        reports[workers] = prepare(source, out, Asked(resolution=16, shard_size=10, seed=3), workers=workers)
    assert fingerprint(tmp_path / "1") == fingerprint(tmp_path / "2") == fingerprint(tmp_path / "5")
    assert len(reports[1].skipped) == 3
    assert reports[1].skipped == reports[2].skipped == reports[5].skipped
    prepare(source, tmp_path / "other", Asked(resolution=16, shard_size=10, seed=4), workers=1)
    assert fingerprint(tmp_path / "other") != fingerprint(tmp_path / "1")
    assert set(stored(tmp_path / "other")) == set(stored(tmp_path / "1"))


def test_the_order_is_shuffled(tmp_path: Path) -> None:
    call(tmp_path, _crowd(tmp_path))
    names = list(stored(tmp_path / "out"))
    assert names != sorted(names)
    assert len({name[:2] for name in names[:15]}) == 3


_SLOW = """
import sys, time
from pipeline.images import normalised as images
from pipeline.data.preparing import render
from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
fast = render.encode
def slow(*arguments):
    time.sleep(0.02)
    return fast(*arguments)
render.encode = slow
prepare(sys.argv[1], sys.argv[2], Asked(resolution=16, shard_size=5, seed=3), workers=int(sys.argv[3]))
"""


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    source, out = _crowd(tmp_path), tmp_path / "out"
    whole = prepare(source, tmp_path / "whole", Asked(resolution=16, shard_size=5, seed=3), workers=1)
    dice, kills, resumed = random.Random(1), 0, 0
    for turn in range(6):
        command = [sys.executable, "-c", _SLOW, str(source), str(out), str(1 + turn % 2)]
        with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
            before = _shards(out)
            deadline = time.monotonic() + 30
            while process.poll() is None and _shards(out) == before and time.monotonic() < deadline:
                time.sleep(0.01)  # until it has made some progress
            time.sleep(dice.uniform(0, 0.15))
            process.send_signal(signal.SIGKILL)
            if process.wait() == 0:
                break
        if (out / "index.json").is_file() and read_unfinished(out).complete:  # killed when all was done
            break
        kills += 1
        resumed = max(resumed, _shards(out))
        with pytest.raises(UserError, match=r"not complete|no such index"):
            ShardIndex.read(out)
    report = prepare(source, out, Asked(resolution=16, shard_size=5, seed=3), workers=1)
    assert kills >= 3
    assert resumed >= 3
    assert fingerprint(out) == fingerprint(tmp_path / "whole")
    assert sorted(report.skipped) == sorted(whole.skipped)
    assert report.count == 60


def _shards(out: Path) -> int:
    return len(list(out.glob("*.tar")))


def test_other_settings_or_files_do_not_mix(tmp_path: Path) -> None:
    source = _crowd(tmp_path)
    call(tmp_path, source)
    assert call(tmp_path, source).resumed == 60  # again: nothing to do
    with pytest.raises(UserError, match="seed: 0 there, 1 asked"):
        call(tmp_path, source, seed=1)


def test_a_source_that_changed_since_is_told(tmp_path: Path) -> None:
    source = _crowd(tmp_path)
    call(tmp_path, source, labels="none")
    for n in (1, 2):
        (source / f"c0/new{n}.png").write_bytes(plain(n))
    (source / "c1/001.png").unlink()
    there = (
        r"out: holds a data set of \S*in as it was before \(2 added, 1 of the 60 in it removed since\); give"
    )
    with pytest.raises(UserError, match=there) as caught:
        call(tmp_path, source, labels="none")
    assert "\n" not in str(caught.value)
    # What was drawn from it, or not finished, does not say what else was there.
    drawn = prepare(
        _crowd(tmp_path), tmp_path / "drawn", Asked(resolution=16, count=30, labels="none"), workers=1
    )
    gone = sorted(stored(tmp_path / "drawn"))[:2]
    assert drawn.count >= 27
    for name in gone:
        (source / name).unlink()
    left = len(list(source.rglob("*.png")))
    there = rf"\(the source has {left} pictures now, 2 of the {drawn.count} in it removed since\)"
    with pytest.raises(UserError, match=there):
        prepare(source, tmp_path / "drawn", Asked(resolution=16, count=30, labels="none"), workers=1)


def test_the_same_pictures_with_other_contents_or_classes_are_another_set(tmp_path: Path) -> None:
    source = _crowd(tmp_path)
    call(tmp_path, source)
    with pytest.raises(UserError, match=r"classes: \['c0', 'c1', 'c2'\] there, \[\] asked"):
        call(tmp_path, source, labels="none")
    (source / "c0/000.png").write_bytes(plain(3))
    with pytest.raises(UserError, match=r"holds another data set \(its pictures' sizes or classes differ\)"):
        call(tmp_path, source)
