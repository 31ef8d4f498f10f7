"""Sheets and animations: what stands where."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from pipeline.errors import RunFailed, UserError
from pipeline.exploration.animation import check_animation, write_animation
from pipeline.exploration.sheet import Sheet, check_sheet, enlarged


def cells(count: int, channels: int = 3, side: int = 16) -> torch.Tensor:
    numbers = torch.Generator().manual_seed(1)
    return torch.randint(256, (count, channels, side, side), generator=numbers).to(torch.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_every_image_stands_in_its_row_and_column(channels: int) -> None:
    images = cells(6, channels)
    pixels = Sheet(images, ["a", "a long row"], ["x", "y", "a column wider than its image"], "title").pixels()
    big = enlarged(images).permute(0, 2, 3, 1).numpy()
    places = []
    for image in big:
        # Found by a search of the whole sheet, not by the sheet's own arithmetic.
        first = np.argwhere(pixels[:-63, :-63, 0] == image[0, 0, 0])
        places += [(y, x) for y, x in first if np.array_equal(pixels[y : y + 64, x : x + 64], image)]
    assert len(places) == 6
    rows, columns = sorted({y for y, _ in places}), sorted({x for _, x in places})
    assert places == [(y, x) for y in rows for x in columns]
    assert (len(rows), len(columns)) == (2, 3)
    # Labels are dark, before the first column and above the first row.
    assert pixels[rows[1] : rows[1] + 64, : columns[0]].min() < 100
    assert pixels[: rows[0], columns[2] :].min() < 100


def test_images_are_enlarged_pixel_by_pixel() -> None:
    images = cells(1, side=20)
    big = enlarged(images)
    assert big.shape == (1, 3, 80, 80)
    assert torch.equal(big[..., ::4, ::4], images)
    assert torch.equal(big[..., 3::4, 3::4], images)
    assert enlarged(cells(1, side=128)).shape[-1] == 128


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("a.bmp", 1, "not a picture's file name"),
        ("folder.png", 1, "is a folder"),
        ("a.png", 100_000, "ask for fewer rows or columns"),
        ("a.webp", 600, "at most 16383 a side"),
    ],
)
def test_sheets_that_cannot_be(tmp_path: Path, name: str, rows: int, message: str) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UserError, match=message):
        check_sheet(tmp_path / name, rows, 2, 32, 32)


# ---- animations


def frames(count: int = 5, side: int = 24) -> list[np.ndarray]:
    """Grey, frame by frame brighter: what a palette can hold exactly."""
    return [np.full((side, side, 1), 40 * i, np.uint8) for i in range(count)]


@pytest.mark.parametrize("kind", ["gif", "apng", "webp"])
def test_frames_come_back_in_order_and_time(tmp_path: Path, kind: str) -> None:
    out = tmp_path / f"a.{kind}"
    write_animation(out, frames(), 20.0)
    with Image.open(out) as picture:
        shown, durations = [], []
        for frame in ImageSequence.Iterator(picture):
            frame.load()
            durations.append(frame.info.get("duration"))
            shown.append(float(np.asarray(frame.convert("L")).mean()))
    assert shown == pytest.approx([0, 40, 80, 120, 160], abs=3)
    assert durations == [50] * 5
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


FFMPEG = """#!/usr/bin/env python3
import sys, json
data = sys.stdin.buffer.read()
json.dump([sys.argv[1:], len(data), data[-1]], open({log!r}, "w"))
{ending}
"""


def fake_ffmpeg(folder: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> Path:
    log, program = folder / "log.json", folder / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text(FFMPEG.format(log=str(log), ending=ending))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return log


def test_mp4_goes_through_ffmpeg_without_a_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = fake_ffmpeg(tmp_path, monkeypatch, 'open(sys.argv[-1], "wb").write(b"film")')
    out = tmp_path / "a; touch pwned $(x) .mp4"
    write_animation(out, frames(3, 10), 25.0)
    assert out.read_bytes() == b"film"
    arguments, count, last = json.loads(log.read_text())
    assert count == 3 * 10 * 10 * 3
    assert last == 80
    assert arguments[arguments.index("-s") + 1] == "10x10"
    assert arguments[arguments.index("-r") + 1] == "25"
    assert Path(arguments[-1]).parent == tmp_path
    assert sorted(path.name for path in tmp_path.iterdir()) == [out.name, "bin", "log.json"]


def test_an_ffmpeg_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_ffmpeg(tmp_path, monkeypatch, 'sys.exit("Unknown encoder libx264")')
    with pytest.raises(RunFailed, match="ffmpeg failed: Unknown encoder libx264"):
        write_animation(tmp_path / "a.mp4", frames(), 10.0)
    assert not list(tmp_path.glob("*.mp4*"))


def test_animations_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        UserError, match=r"an .mp4 needs ffmpeg on PATH; install it; allowed without it: .gif"
    ):
        check_animation(tmp_path / "a.mp4", 3, 64, 64)
    with pytest.raises(UserError, match="ask for fewer --steps"):
        check_animation(tmp_path / "a.gif", 100_000, 1024, 1024)
