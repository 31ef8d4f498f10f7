"""Small worlds for evaluation: a data set of shards, a run with snapshots, a sampler of known images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from pipeline.config.families import StyleGAN2Config
from pipeline.contracts import Fakes, ImageSpec, Stage
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.sink import ShardSink
from pipeline.images.codec import encode
from pipeline.images.pictures import to_uint8
from pipeline.randomness import seeded
from pipeline.storage.snapshots import Snapshot, open_snapshot, write_snapshot


def smooth_images(
    seeds: Sequence[int], size: int = 32, channels: int = 3, rough: float = 0.0
) -> torch.Tensor:
    """[N, C, size, size] in [-1, 1]: a coarse random pattern enlarged, plus `rough` times white noise."""
    images = []
    for seed in seeds:
        generator = seeded(seed)
        coarse = torch.randn(1, channels, 5, 5, generator=generator)
        image = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic")[0]
        images.append(0.5 * image + rough * torch.randn(image.shape, generator=generator))
    return torch.stack(images).clamp(-1, 1)


class SmoothSampler:
    """Draws `smooth_images`; with classes, a class shifts the brightness. Counts what it drew."""

    def __init__(self, spec: ImageSpec, rough: float = 0.0, offset: int = 10_000) -> None:
        self.spec, self.rough, self.offset = spec, rough, offset
        self.drawn: list[tuple[int, int | None]] = []

    def draw(
        self, seeds: Sequence[int], *, classes: Sequence[int] | None = None, truncation: float = 1.0
    ) -> Fakes:
        self.drawn += list(zip(seeds, classes or [None] * len(seeds), strict=True))
        images = smooth_images(
            [seed + self.offset for seed in seeds], self.spec.height, self.spec.channels, self.rough
        )
        labels = None
        if self.spec.classes:
            chosen = list(classes) if classes is not None else [seed % self.spec.classes for seed in seeds]
            labels = torch.tensor(chosen)
            images = images + labels.view(-1, 1, 1, 1) / self.spec.classes
        return Fakes(images * truncation, labels, torch.zeros(len(seeds), 1))


def write_shards(
    root: Path,
    count: int = 40,
    size: int = 32,
    channels: int = 3,
    classes: Sequence[str] = (),
    rough: float = 0.0,
) -> ShardIndex:
    with ShardSink(
        root, name="t", height=size, width=size, channels=channels, classes=classes, shard_size=16
    ) as sink:
        for number in range(count):
            pixels = to_uint8(smooth_images([number], size, channels, rough))[0].permute(1, 2, 0).numpy()
            label = number * number % len(classes) if classes else None
            sink.write(f"k{number:05d}", encode(np.ascontiguousarray(pixels), "png"), "png", label)
    return ShardIndex.read(root)


def write_toy_snapshot(
    run: Path,
    images_seen: int,
    size: int = 32,
    channels: int = 3,
    classes: Sequence[str] = (),
    weight: float = 0.0,
) -> Snapshot:
    """A snapshot with one made-up weight: for what reads everything but the generator."""
    folder = write_snapshot(
        run,
        {"weight": torch.full((1,), weight)},
        family=StyleGAN2Config(),
        spec=ImageSpec(size, size, channels, len(classes)),
        classes=classes,
        stage=Stage(size, 1.0, 8, {"generator": 0.001, "discriminator": 0.001}),
        images_seen=images_seen,
        step=images_seen // 8,
        world_size=1,
        config_digest="0" * 64,
        data={},
    )
    return open_snapshot(folder)


class CoarseExtractor:
    """Features that need no weights: the images at 4x4, and sums of them as logits."""

    name, digest, resize = "coarse", "c" * 64, "means of squares to 4"
    size, has_logits = 48, True

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def __call__(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        small = torch.nn.functional.adaptive_avg_pool2d(images.float() / 64, 4).flatten(1)
        return small, small.unflatten(1, (12, 4)).sum(2)
