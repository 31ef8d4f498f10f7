"""prepare: a picture that ends the process which reads it is left out, and costs no other."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.processes import in_order
from pipeline.data.preparing.settings import Asked
from pipeline.data.shards.index import ShardIndex
from pipeline.data.sources.folder import FolderSource
from pipeline.data.sources.source import Picture
from pipeline.errors import RunFailed, UserError
from tests.data.feeds import file, folder, noise, stored


def _work(number: int) -> int:
    if number in (5, 37):
        os.kill(os.getpid(), signal.SIGSEGV)
    if number == 50:
        os._exit(3)
    return number * 10


def test_the_numbers_that_end_their_process_are_told_and_all_others_done() -> None:
    results = list(in_order(_work, range(70), 2, str))
    expected = {
        5: "ends the process that reads it (SIGSEGV)",
        37: "ends the process that reads it (SIGSEGV)",
        50: "ends the process that reads it (status 3)",
    }
    assert results == [expected.get(number, number * 10) for number in range(70)]


def test_without_a_result_instead_all_work_ends() -> None:
    with pytest.raises(UserError, match="a process that reads images died, most often for lack of memory"):
        list(in_order(_work, range(70), 2))


def test_errors_of_the_work_are_raised_after_a_crash_as_before() -> None:
    def work(number: int) -> int:
        if number == 6:
            raise RunFailed("the disk is gone")
        return _work(number)

    with pytest.raises(RunFailed, match="the disk is gone"):
        list(in_order(work, range(70), 2, str))


@pytest.mark.parametrize("duplicates", ["keep", "drop"])
def test_a_picture_whose_decoder_crashes_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, duplicates: str
) -> None:
    source = folder(tmp_path / "in", {f"{n:02d}.png": file(noise(16, 16, n)) for n in range(30)})
    read = FolderSource.picture

    def crashing(self: FolderSource, number: int) -> Picture:
        if self.listing.names[number] == "11.png":
            os.kill(os.getpid(), signal.SIGSEGV)
        return read(self, number)

    monkeypatch.setattr(FolderSource, "picture", crashing)
    asked = Asked(resolution=16, duplicates=duplicates, shard_size=7)
    report = prepare(source, tmp_path / "out", asked, workers=2)
    assert dict(report.skipped) == {"11.png": "ends the process that reads it (SIGSEGV)"}
    assert len(stored(tmp_path / "out")) == 29
    monkeypatch.undo()
    (source / "11.png").write_bytes(b"x" * (source / "11.png").stat().st_size)
    prepare(source, tmp_path / "other", asked, workers=2)
    assert ShardIndex.read(tmp_path / "other").digest == ShardIndex.read(tmp_path / "out").digest
