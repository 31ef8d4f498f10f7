"""The tiny families of `tools`, a game to play with one, and a distance between sets of images."""

from __future__ import annotations

from torch import Generator, Tensor, randn

from pipeline.contracts import Family, Game, Networks
from pipeline.randomness import SampleRandomness
from tools.tiny_families import (
    BATCH,
    DIGITS,
    FIELDS,
    PLAIN,
    SIDE,
    TINY,
    DigitStream,
    seeded_networks,
    tiny_config,
    tiny_family,
    tiny_sampler,
    tiny_trainer,
)

__all__ = [
    "ALONE",
    "BATCH",
    "DIGITS",
    "FIELDS",
    "FLOAT32_ALONE",
    "GIVEN",
    "LABELLED",
    "PLAIN",
    "SIDE",
    "TINY",
    "WITHOUT_CLASSES",
    "DigitStream",
    "seeded_networks",
    "sliced_distance",
    "tiny_config",
    "tiny_family",
    "tiny_game",
    "tiny_sampler",
    "tiny_trainer",
]

FLOAT32_ALONE = (
    *("autoencoder", "began", "cyclegan", "dann", "dcgan", "graf", "inpainting", "mlp"),
    *("pix2pix", "pixelcnn", "sg2im", "superres", "textgan"),
)
"""Families that refuse engine.precision=bfloat16."""
WITHOUT_CLASSES = (
    *("autoencoder", "began", "cyclegan", "inpainting", "pix2pix"),
    *("sg2im", "superres", "textgan"),
)
"""Families that know no classes, whatever the data have."""
ALONE = ("dann", "pixelcnn")
"""Families of a single player: there is no discriminator, and nothing adversarial."""
LABELLED = ("dann",)
"""Families that refuse data without classes."""
GIVEN = ("cyclegan", "dann", "inpainting", "pix2pix", "sg2im", "superres", "textgan")
"""Families whose images are made of what they are given; they have no latents."""


def tiny_game(family: Family, networks: Networks, count: int = BATCH, images_seen: int = 0) -> Game:
    randomness = SampleRandomness(range(count))
    (reals,) = DigitStream(family.spec).draw(count)
    return family.game(networks, family.schedule.at(images_seen), randomness, reals)


def sliced_distance(a: Tensor, b: Tensor) -> float:
    """Mean distance of sorted projections of pixels onto 64 random directions (sliced Wasserstein-1)."""
    directions = randn(64, a[0].numel(), generator=Generator().manual_seed(1))
    directions /= directions.norm(dim=1, keepdim=True)
    first, second = ((x.flatten(1) @ directions.T).sort(dim=0).values for x in (a, b))
    return float((first - second).abs().mean())
