"""A StyleGAN2 small enough to test by hand, with seeded weights."""

from __future__ import annotations

import torch

from pipeline.config.families import StyleGAN2Config
from pipeline.contracts import Batch, ImageSpec, Networks
from pipeline.models.stylegan2.family import StyleGAN2
from pipeline.randomness import SampleRandomness

TINY = {
    "z_dim": 12,
    "w_dim": 10,
    "mapping_layers": 2,
    "channel_base": 128,
    "channel_max": 16,
    "minibatch_stddev_group": 2,
}


RGB = ImageSpec(16, 16, 3)


def tiny(spec: ImageSpec = RGB, low_precision=None, **changes) -> tuple[StyleGAN2, Networks]:
    family = StyleGAN2(
        StyleGAN2Config(**{**TINY, **changes}), spec, batch_size=8, low_precision=low_precision
    )
    torch.manual_seed(1)
    return family, family.networks()


def game_of(family: StyleGAN2, networks: Networks, count: int = 8, first_seed: int = 0):
    randomness = SampleRandomness(range(first_seed, first_seed + count))
    return family.game(networks, family.schedule.at(0), randomness)


def reals(spec: ImageSpec, count: int = 8) -> Batch:
    generator = torch.Generator().manual_seed(4)
    images = torch.rand(count, spec.channels, spec.height, spec.width, generator=generator) * 2 - 1
    labels = torch.arange(count) % spec.classes if spec.classes else None
    return Batch(images, labels)
