"""Images that are bound to their labels by a right checksum and cannot be decoded: told, or passed over."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.config.run import DataConfig
from pipeline.contracts import Process
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.sink import ShardSink
from pipeline.data.streaming.stream import ImageStream
from pipeline.errors import UserError
from pipeline.images.codec import FormatName, encode

BAD, COUNT = 11, 24


def make(root: Path, format: FormatName) -> ShardIndex:
    """Grey squares of brightness 10 * number; of number BAD the second half of the file is lost."""
    with ShardSink(root, name="data", height=16, width=16, channels=3, shard_size=8) as sink:
        for number in range(COUNT):
            noise = np.random.default_rng(number).integers(0, 3, (16, 16, 3), np.uint8)
            data = encode(noise + np.uint8(10 * number), format)
            sink.write(f"{number:04d}", data[: len(data) // 2] if number == BAD else data, format)
    return ShardIndex.read(root)


def drawn(index: ShardIndex, workers: int, **options: str) -> tuple[torch.Tensor, int]:
    config = DataConfig(workers=workers, lanes=3, **options)
    with ImageStream(index, config, seed=3, process=Process(), images_seen=0, labels=False) as stream:
        images = stream.draw(COUNT)[0].images
        return images, stream.damaged


def squares(images: torch.Tensor) -> list[int]:
    return sorted(((images + 1) * 127.5).mean((1, 2, 3)).div(10).floor().int().tolist())


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("format", ["png", "jpg"])
def test_it_ends_the_run_and_is_named(tmp_path: Path, format: FormatName, workers: int) -> None:
    index = make(tmp_path, format)
    with pytest.raises(UserError, match=rf"data-\d+\.tar: key {BAD:04d}: its image cannot be decoded"):
        drawn(index, workers)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("format", ["png", "jpg"])
def test_it_is_replaced_and_counted(tmp_path: Path, format: FormatName, workers: int) -> None:
    index = make(tmp_path, format)
    with pytest.warns(UserWarning, match=f"key {BAD:04d}: its image cannot be decoded.*; skipped"):
        images, damaged = drawn(index, workers, on_damage="skip")
    assert damaged >= 1
    found = squares(images)
    assert set(found) == set(range(COUNT)) - {BAD}
    assert len(found) == COUNT
