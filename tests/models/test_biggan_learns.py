"""A tiny BigGAN on handwritten digits: nearer to them than its untrained control, of the asked-for class."""

from __future__ import annotations

import pytest
import torch

from pipeline.contracts import Process
from pipeline.engines.replicated import Replicated
from pipeline.models.registry import build_family
from pipeline.training.trainer import Trainer
from tests.tiny_families import DIGITS, DigitStream, sliced_distance, tiny_config

BATCH = 16


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "steps"), [("biggan", 300), ("deep", 350)])
def test_samples_come_closer_to_digits(variant, steps):
    config = tiny_config(
        "biggan",
        variant=variant,
        z_dim=16,
        shared_dim=8,
        generator_channels=8,
        discriminator_channels=8,
        discriminator_repeats=1,
        generator_rate=0.003,
        discriminator_rate=0.006,
        ema_half_life_images=500,
        ema_ramp=0.05,
        standing_batches=4,
        standing_batch_size=64,
    )
    family = build_family(config, DIGITS, batch_size=BATCH)
    torch.manual_seed(0)
    networks = family.networks()
    engine = Replicated(Process())
    engine.attach(networks, family.optimizers)
    stream = DigitStream()
    trainer = Trainer(family, networks, engine, stream, seed=1)

    def drawn(classes):
        return family.sampler(trainer.averager.average).draw(range(len(classes)), classes=classes).images

    def distance() -> float:
        return sliced_distance(drawn(stream.labels[:400].tolist()), stream.images[:400])

    control = distance()
    for _ in range(steps):
        trainer.step()
    assert distance() < 0.5 * control
    means = torch.stack([stream.images[stream.labels == c].mean(0) for c in range(10)])
    samples = drawn([i % 10 for i in range(100)])
    nearest = torch.cdist(samples.flatten(1), means.flatten(1)).argmin(1)
    assert (nearest == torch.arange(100) % 10).float().mean() > 0.4  # chance: 0.1
