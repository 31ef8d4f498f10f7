"""An autoencoder small enough for tests, with seeded weights, as a snapshot."""

from __future__ import annotations

from pathlib import Path

import torch

from pipeline.config.families import MLPConfig
from pipeline.contracts import ImageSpec, Stage
from pipeline.models.autoencoder import Autoencoder, Shape
from pipeline.storage.snapshots import write_snapshot

FACTOR, CHANNELS = 2, 4


def tiny_autoencoder(seed: int = 1, *, channels: int = 1) -> Autoencoder:
    """Of two levels: latents are half as high and wide as images of `channels`, and have four."""
    torch.manual_seed(seed)
    network = Autoencoder(Shape(channels, CHANNELS, (32, 32), blocks=1, attention=False))
    network.scale.fill_(0.75)
    return network.eval().requires_grad_(False)


def tiny_snapshot(folder: Path, seed: int = 1, *, side: int = 16) -> Path:
    """A snapshot of it, in a run's `folder`. Its family is of no account."""
    stage = Stage(side, 1.0, 8, {"generator": 0.001, "discriminator": 0.001})
    return write_snapshot(
        folder,
        tiny_autoencoder(seed).state_dict(),
        family=MLPConfig(),
        spec=ImageSpec(side, side, 1),
        classes=(),
        stage=stage,
        images_seen=0,
        step=0,
        world_size=1,
        config_digest="0" * 64,
        data={},
    )
