"""Data sets of noise with labels, and what a pyramid of them must be, by its definition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pipeline.config.run import DataConfig
from pipeline.contracts import Process
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.sink import ShardSink
from pipeline.data.streaming.numbered import read_uint8
from pipeline.data.streaming.stream import ImageStream
from tests.data.feeds import file

COUNT, SIDE = 43, 32


def make(root: Path, *, height: int = SIDE, width: int = SIDE, channels: int = 3, count: int = COUNT) -> Path:
    """Noise with labels, in shards of 16; keys with gaps, as `prepare` leaves them for unreadable files."""
    dice = np.random.default_rng(7)
    with ShardSink(
        root,
        name="data",
        height=height,
        width=width,
        channels=channels,
        classes=("a", "b", "c"),
        shard_size=16,
    ) as sink:
        for n in range(count):
            pixels = dice.integers(0, 256, (height, width, channels), np.uint8)
            picture = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
            sink.write(f"{2 * n:08d}", file(picture), "png", n % 3, {"n": n})
    return root


def everything(index: ShardIndex) -> tuple[torch.Tensor, list[int], list[str]]:
    parts = list(read_uint8(index))
    labels = [label for _, part, _ in parts for label in part or []]
    return (
        torch.cat([images for images, _, _ in parts]),
        labels,
        [key for _, _, part in parts for key in part],
    )


def box(images: np.ndarray, factor: int) -> np.ndarray:
    """[N, C, H, W] by the definition: the mean of each block, numpy's rint (half to even) of float64."""
    n, c, h, w = images.shape
    blocks = images.reshape(n, c, h // factor, factor, w // factor, factor).astype(np.float64)
    rounded: np.ndarray = np.rint(blocks.mean((3, 5))).astype(np.uint8)
    return rounded


def draw(
    index: ShardIndex,
    draws: list[tuple[int, int | None]],
    *,
    world: int = 1,
    workers: int = 0,
    seen: int = 0,
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The global batches of `draws` (images, resolution), put together from all ranks."""
    config = DataConfig(workers=workers, lanes=4, prefetch=2, mirror=True)
    streams = [
        ImageStream(index, config, seed=5, process=Process(r, world), images_seen=seen, labels=True)
        for r in range(world)
    ]
    batches = []
    try:
        for size, resolution in draws:
            parts = [stream.draw(size, resolution=resolution)[0] for stream in streams]
            labels = [part.labels for part in parts if part.labels is not None]
            images = torch.stack([part.images for part in parts], 1).flatten(0, 1)
            batches.append((images, torch.stack(labels, 1).flatten()))
    finally:
        for stream in streams:
            stream.close()
    return batches
