"""A tiny ProGAN on real handwritten digits, grown to the end: samples come closer than the untrained
control's, and show the asked-for class."""

from __future__ import annotations

import pytest
import torch

from pipeline.config.families import ProGANConfig
from pipeline.contracts import Process
from pipeline.engines.replicated import Replicated
from pipeline.models.registry import build_family
from pipeline.training.trainer import Trainer
from tests.tiny_families import DIGITS, DigitStream, sliced_distance


@pytest.mark.slow
def test_samples_come_closer_to_digits_as_they_grow():
    config = ProGANConfig(
        z_dim=16,
        fmap_base=128,
        fmap_max=24,
        minibatch_stddev_group=4,
        stable_images=2500,
        fade_images=2500,
        gpus=None,
        generator_rate=0.004,
        discriminator_rate=0.004,
        ema_decay=0.98,
    )
    family = build_family(config, DIGITS, batch_size=16)
    torch.manual_seed(0)
    networks = family.networks()
    engine = Replicated(Process())
    engine.attach(networks, family.optimizers)
    stream = DigitStream(family.spec)
    trainer = Trainer(family, networks, engine, stream, seed=1)

    def samples(count: int) -> torch.Tensor:
        stage = family.schedule.at(trainer.progress.images_seen)
        sampler = family.sampler(trainer.averager.average, stage)
        return sampler.draw(range(count), classes=stream.labels[:count].tolist()).images

    control = sliced_distance(samples(400), stream.images[:400])
    while trainer.progress.images_seen < 8000:
        trainer.step()
    assert family.schedule.at(trainer.progress.images_seen).growth == 2
    grown = samples(400)
    assert sliced_distance(grown, stream.images[:400]) < 0.5 * control
    # The asked-for class: a sample is nearer, on average, to its own class's mean than to others'.
    means = torch.stack([stream.images[stream.labels == c].mean(0) for c in range(10)])
    nearest = torch.cdist(grown.flatten(1), means.flatten(1)).argmin(1)
    assert (nearest == stream.labels[:400]).float().mean() > 0.4  # chance: 0.1
