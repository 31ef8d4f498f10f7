"""The benches of loaders and of prepare: all deliver the same pictures, and rows say what they compare."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
import torch

from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.reader import read_samples
from pipeline.data.streaming.numbered import read_uint8
from tests.data.sets import make_set
from tools.bench import loaders_of_others as others
from tools.bench import prepare as preparing
from tools.bench.loader import BATCH, Cost


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> ShardIndex:
    return make_set(tmp_path_factory.mktemp("bench"), 256, 64, labelled=False)


def test_others_draw_the_same_pictures(index: ShardIndex, tmp_path: Path) -> None:
    files = [(f"{sample.key}.png", sample.image) for sample in read_samples(index)]
    known = {
        image.numpy().tobytes() for images, _, _ in read_uint8(index) for image in images.permute(0, 2, 3, 1)
    }
    assert len(known) == 256
    loaders: list[Iterable[torch.Tensor]] = [
        others._over_zip(others._zipped(tmp_path / "files.zip", files)),
        others._webdataset(index),
    ]
    for loader in loaders:
        batch = next(iter(loader))
        assert (batch.dtype, tuple(batch.shape)) == (torch.uint8, (BATCH, 8, 8, 3))
        drawn = {image.numpy().tobytes() for image in batch}
        assert len(drawn) > BATCH // 2  # shuffled, not one again and again
        assert drawn <= known


def test_rows_compare_with_bare_and_with_ours(index: ShardIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    turns = iter([2.0, 4.0, 8.0, 1.0, 9.0, 16.0])
    loaders = {name: lambda: Cost(next(turns), 1.0) for name in ("bare", "ours", "webdataset")}
    monkeypatch.setattr(others, "photographs", lambda *_: index)
    monkeypatch.setattr(others, "contestants", lambda *_: loaders)
    rows = others.loader_rows(32, "png", range(2))
    each = 1e3 / (32 * BATCH)
    assert [row["ms"] / each for row in rows] == pytest.approx([1.5, 6.5, 12.0])
    assert rows[2]["vs_reference"] == pytest.approx(1.5 / 12)
    assert rows[2]["vs_peer"] == pytest.approx(6.5 / 12)


def test_prepare_is_compared_with_a_loop_over_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparing, "FROM", 64)
    monkeypatch.setattr(preparing, "TO", 16)
    rows = preparing.prepare_rows(4, range(1))
    assert [row["op"] for row in rows] == ["prepare, 1 worker", "prepare, 2 workers"]
    for row in rows:
        assert row["ms"] > 0
        assert row["vs_reference"] == pytest.approx(row["floor_ms"] / row["ms"])
