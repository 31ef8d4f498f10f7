"""The pyramid: exact pixels, the same samples in the same order, whole or not there."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from launch.main import main
from pipeline.config.run import DataConfig
from pipeline.contracts import Process
from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.pyramid import build_pyramid
from pipeline.data.preparing.settings import Asked
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.levels import level_sizes, open_level, reduce
from pipeline.data.shards.sink import ShardSink
from pipeline.data.shards.verify import verify
from pipeline.data.streaming.stream import ImageStream
from pipeline.errors import UserError
from tests.data.feeds import file, folder, noise
from tests.data.layers import box, draw, everything, make


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> ShardIndex:
    return ShardIndex.read(make(tmp_path_factory.mktemp("bare")))


@pytest.fixture(scope="module")
def layered(tmp_path_factory: pytest.TempPathFactory) -> ShardIndex:
    return build_pyramid(make(tmp_path_factory.mktemp("layered")), workers=1)


@pytest.mark.parametrize("factor", [1, 2, 4, 8, 16])
def test_reduction_rounds_the_mean_of_a_block_half_to_even(factor: int) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (32, 16, 3), np.uint8)
    got = reduce(torch.from_numpy(pixels), factor).numpy()
    for y, x, c in [(0, 0, 0), (1, 0, 2), (32 // factor - 1, 16 // factor - 1, 1)]:
        block = pixels[y * factor : (y + 1) * factor, x * factor : (x + 1) * factor, c]
        assert got[y, x, c] == round(Fraction(int(block.astype(int).sum()), factor**2))


def test_halves_go_to_the_even_number_and_white_stays_white() -> None:
    pairs = torch.tensor([[0, 0, 1, 1, 1, 2], [1, 1, 2, 2, 1, 2]], dtype=torch.uint8)[..., None]
    assert reduce(pairs, 2).flatten().tolist() == [0, 2, 2]  # means .5, 1.5, 1.5
    for side in (256, 512, 4096):  # where sums of two bytes suffice, and where they do not
        assert reduce(torch.full((side, side, 1), 255, dtype=torch.uint8), side).item() == 255


@pytest.mark.parametrize(
    ("size", "levels"),
    [
        ((32, 32), [(16, 16), (8, 8), (4, 4)]),
        ((96, 96), [(48, 48), (24, 24), (12, 12), (6, 6)]),
        ((64, 24), [(32, 12), (16, 6)]),
        ((7, 7), []),
        ((18, 18), [(9, 9)]),
    ],
)
def test_which_levels_there_are(size: tuple[int, int], levels: list[tuple[int, int]]) -> None:
    assert level_sizes(*size) == levels


@pytest.mark.parametrize(("height", "width", "channels"), [(32, 32, 3), (96, 96, 1), (24, 16, 3)])
def test_levels_hold_the_same_samples(tmp_path: Path, height: int, width: int, channels: int) -> None:
    index = build_pyramid(make(tmp_path, height=height, width=width, channels=channels, count=21), workers=1)
    verify(index)
    stored, labels, keys = everything(index)
    assert [(level.height, level.width) for level in index.levels] == level_sizes(height, width)
    for level in index.levels:
        lower = ShardIndex.read(tmp_path / "levels" / f"{level.height:04d}")
        images, its_labels, its_keys = everything(lower)
        assert np.array_equal(images.numpy(), box(stored.numpy(), height // level.height))
        assert (its_labels, its_keys) == (labels, keys)
        assert [shard.count for shard in lower.shards] == [16, 5]
        assert lower.digest == level.digest


def test_jpegs_get_lossless_levels_of_what_they_decode_to(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", {f"{n}.png": file(noise(32, 32, n)) for n in range(3)})
    report = prepare(source, tmp_path / "out", Asked(resolution=32, format="jpg", pyramid=True), workers=1)
    assert "pyramid: 16x16, 8x8, 4x4" in report.lines()
    index = ShardIndex.read(tmp_path / "out")
    lower, _, _ = everything(open_level(index, index.levels[0]))
    assert np.array_equal(lower.numpy(), box(everything(index)[0].numpy(), 2))


def test_shards_of_any_length_are_cut_alike(tmp_path: Path) -> None:
    with ShardSink(tmp_path, name="odd", height=8, width=8, channels=3, shard_size=9) as sink:
        for n in range(10):
            sink.write(str(n), file(noise(8, 8, n)), "png")
            if n in (2, 3):
                sink.cut()
    index = build_pyramid(tmp_path, workers=2)
    assert [shard.count for shard in open_level(index, index.levels[0]).shards] == [3, 1, 6]


def test_levels_do_not_change_what_the_data_set_is(bare: ShardIndex, layered: ShardIndex) -> None:
    assert layered.levels
    assert layered.digest == bare.digest
    assert ShardIndex.read(layered.root) == layered


@pytest.mark.parametrize("workers", [2])
def test_the_same_bytes_on_any_number_of_processes(layered: ShardIndex, tmp_path: Path, workers: int) -> None:
    assert build_pyramid(make(tmp_path), workers=workers).levels == layered.levels


def _edit(path: Path, change: dict[str, Any]) -> None:
    content = json.loads((path / "index.json").read_text())
    (path / "index.json").write_text(json.dumps({**content, **change}))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "missing": lambda level: shutil.rmtree(level),
    "no index": lambda level: (level / "index.json").unlink(),
    "a shard is short": lambda level: (level / "data-00001.tar").write_bytes(b"x"),
    "interrupted": lambda level: _edit(level, {"complete": False}),
    "another": lambda level: _edit(level, {"classes": ["x", "y", "z"]}),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_level_that_is_not_as_listed_is_one_line(tmp_path: Path, kind: str) -> None:
    index = build_pyramid(make(tmp_path), workers=1)
    DAMAGE[kind](tmp_path / "levels/0008")
    with pytest.raises(UserError, match=r"levels/0008: .*--pyramid") as caught:
        draw(index, [(4, 8)])
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="levels/0008"):
        verify(index)
    draw(index, [(4, 16), (4, None)])  # the others serve
    shutil.rmtree(tmp_path / "levels/0008", ignore_errors=True)
    assert build_pyramid(tmp_path, workers=1) == index
    verify(index)


def test_a_changed_byte_of_a_level_is_found(tmp_path: Path) -> None:
    index = build_pyramid(make(tmp_path), workers=1)
    path = tmp_path / "levels/0016/data-00000.tar"
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"levels/0016/data-00000.tar"):
        verify(index)


def test_levels_of_other_data_are_refused(tmp_path: Path) -> None:
    build_pyramid(make(tmp_path / "a"), workers=1)
    make(tmp_path / "b", count=20)
    shutil.copytree(tmp_path / "a/levels", tmp_path / "b/levels")
    with pytest.raises(UserError, match=r"b/levels/0016: holds another data set \(of: "):
        build_pyramid(tmp_path / "b", workers=1)
    assert not ShardIndex.read(tmp_path / "b").levels


def test_a_damaged_sample_is_named(tmp_path: Path) -> None:
    path = make(tmp_path) / "data-00001.tar"
    with tarfile.open(path) as tar:
        place = tar.getmember("00000040.png").offset_data + 100
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"data-00001\.tar: .*key 00000040: .*restore it"):
        build_pyramid(tmp_path, workers=2)
    assert not ShardIndex.read(tmp_path).levels


def _tree(root: Path) -> dict[str, str]:
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


_SLOW = """
import sys, time
from pipeline.data.preparing import pyramid
from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
fast = pyramid.encode
def slow(*images, **options):
    time.sleep(0.004)
    return fast(*images, **options)
pyramid.encode = slow
prepare(sys.argv[1], sys.argv[2], Asked(resolution=16, shard_size=5, pyramid=True), workers=int(sys.argv[3]))
"""


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", {f"{n:03d}.png": file(noise(20, 20, n)) for n in range(60)})
    asked = Asked(resolution=16, shard_size=5, pyramid=True)
    prepare(source, tmp_path / "whole", asked, workers=1)
    out, kills, most = tmp_path / "out", 0, 0
    for turn in range(5):
        before = len(list(out.glob("levels/*/*.tar")))
        command = [sys.executable, "-c", _SLOW, str(source), str(out), str(1 + turn % 2)]
        with subprocess.Popen(command) as process:
            deadline = time.monotonic() + 300
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
                if len(list(out.glob("levels/*/*.tar"))) > before + turn % 3:
                    break
            process.send_signal(signal.SIGKILL)
            if process.wait() == 0:
                break
        done = len(list(out.glob("levels/*/*.tar")))
        if done == 24:
            break
        kills, most = kills + 1, max(most, done)
        assert not ShardIndex.read(out).levels  # half a pyramid is none
        draw_any(ShardIndex.read(out))
    assert kills >= 3
    assert most >= 3
    prepare(source, out, asked, workers=1)
    assert _tree(out) == _tree(tmp_path / "whole")
    verify(ShardIndex.read(out))


def draw_any(index: ShardIndex) -> None:
    with ImageStream(
        index, DataConfig(workers=0), seed=1, process=Process(), images_seen=0, labels=False
    ) as stream:
        assert stream.draw(2)[0].images.shape == (2, 3, 16, 16)


def test_the_command_adds_levels_in_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(make(tmp_path / "set"))
    before = ShardIndex.read(root).digest
    assert main(["prepare", root, root, "--pyramid"]) == 0
    assert "pyramid: 16x16, 8x8, 4x4" in capsys.readouterr().out
    assert ShardIndex.read(root).digest == before
    assert len(ShardIndex.read(root).levels) == 3
    assert main(["prepare", root, root, "--pyramid"]) == 0  # again: nothing to do
    for wrong in ([root, str(tmp_path / "other"), "--pyramid"], [root, root]):
        assert main(["prepare", *wrong]) == 2
        assert "is a data set of shards already" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_images_without_levels_are_refused_before_any_work(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", {"x.png": file(noise(20, 20))})
    with pytest.raises(UserError, match=r"--pyramid: images of 17x17 .* have no levels"):
        prepare(source, tmp_path / "out", Asked(resolution=17, pyramid=True), workers=1)
    assert not (tmp_path / "out").exists()
