"""Small data sets whose images say which sample they are."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pipeline.config.run import DataConfig
from pipeline.contracts import Process
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.sink import ShardSink
from pipeline.data.streaming.stream import ImageStream

CLASSES = tuple("abcdefghij")


def png(number: int, side: int = 8) -> bytes:
    """An image of which every pixel tells the number (up to 65,535), and whose left half is darker."""
    pixels = np.empty((side, side, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = number % 256, number // 256
    pixels[..., 2] = np.where(np.arange(side) < side // 2, 10, 200)[None]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def make_set(root: Path, count: int, shard_size: int = 16, labelled: bool = True) -> ShardIndex:
    """`count` samples; sample n has class n % 10."""
    classes = CLASSES if labelled else ()
    with ShardSink(
        root, name="data", height=8, width=8, channels=3, classes=classes, shard_size=shard_size
    ) as sink:
        for n in range(count):
            sink.write(f"{n:08d}", png(n), "png", n % 10 if labelled else None, {"n": n})
    return ShardIndex.read(root)


def numbers(images: torch.Tensor) -> torch.Tensor:
    """The sample numbers of a batch [N, 3, 8, 8] in [-1, 1]."""
    bytes_ = ((images[:, :2, 0, 0].double() + 1) * 127.5).round().long()
    return bytes_[:, 0] + 256 * bytes_[:, 1]


def draw_global(
    index: ShardIndex,
    draws: list[tuple[int, int]],
    *,
    world: int = 1,
    workers: int = 0,
    seen: int = 0,
    seed: int = 5,
    **config: object,
) -> tuple[torch.Tensor, torch.Tensor]:
    """All images and labels of the global batches of `draws` (batch size, times), put together from all
    ranks; checks that no label is at the wrong image."""
    settings = DataConfig.model_validate({"workers": workers, "lanes": 8, "mirror": True, **config})
    streams = [
        ImageStream(index, settings, seed=seed, process=Process(r, world), images_seen=seen, labels=True)
        for r in range(world)
    ]
    images, labels = [], []
    try:
        for size, times in draws:
            parts = [stream.draw(size, times) for stream in streams]
            for turn in range(times):
                images.append(torch.stack([p[turn].images for p in parts], 1).flatten(0, 1))
                labels.append(torch.stack([_labels(p[turn].labels) for p in parts], 1).flatten())
    finally:
        for stream in streams:
            stream.close()
    assert torch.equal(numbers(torch.cat(images)) % 10, torch.cat(labels))
    return torch.cat(images), torch.cat(labels)


def _labels(labels: torch.Tensor | None) -> torch.Tensor:
    assert labels is not None
    return labels
