"""A tiny StyleGAN2 on real handwritten digits: its samples come closer than the untrained control's."""

from __future__ import annotations

import pytest
import torch

from pipeline.config.families import AdaConfig, StyleGAN2Config
from pipeline.contracts import Process
from pipeline.engines.replicated import Replicated
from pipeline.models.registry import build_family
from pipeline.training.trainer import Trainer
from tests.tiny_families import DIGITS, DigitStream, sliced_distance

BATCH = 16


@pytest.mark.slow
def test_samples_come_closer_to_digits():
    config = StyleGAN2Config(
        z_dim=16,
        w_dim=16,
        mapping_layers=2,
        channel_base=192,
        channel_max=24,
        minibatch_stddev_group=4,
        generator_rate=0.004,
        discriminator_rate=0.004,
        r1_gamma=0.1,
        style_mixing=0,
        path_length_weight=0,
        ema_half_life_images=500,
        ema_ramp=0.05,
        ada=AdaConfig(mode="adaptive", adjust_images=5000),
    )
    family = build_family(config, DIGITS, batch_size=BATCH)
    torch.manual_seed(0)
    networks = family.networks()
    engine = Replicated(Process())
    engine.attach(networks, family.optimizers)
    stream = DigitStream()
    trainer = Trainer(family, networks, engine, stream, seed=1)

    def distance() -> float:
        labels = stream.labels[:400].tolist()
        samples = family.sampler(trainer.averager.average).draw(range(400), classes=labels).images
        return sliced_distance(samples, stream.images[:400])

    control = distance()
    for _ in range(600):
        trainer.step()
    assert distance() < 0.5 * control
    # The asked-for class: a sample is nearer, on average, to its own class's mean than to others'.
    means = torch.stack([stream.images[stream.labels == c].mean(0) for c in range(10)])
    samples = family.sampler(trainer.averager.average).draw(range(100), classes=[i % 10 for i in range(100)])
    nearest = torch.cdist(samples.images.flatten(1), means.flatten(1)).argmin(1)
    assert (nearest == torch.arange(100) % 10).float().mean() > 0.4  # chance: 0.1
