"""A tiny StyleGAN2 on real handwritten digits: its samples come closer than the untrained control's."""

from __future__ import annotations

import pytest
import torch
from sklearn.datasets import load_digits

from pipeline.config.families import AdaConfig, StyleGAN2Config
from pipeline.contracts import Batch, ImageSpec, Process
from pipeline.engines.replicated import Replicated
from pipeline.models.registry import build_family
from pipeline.training.trainer import Trainer

BATCH = 16


class Digits:
    """8x8 digits in a fixed order, again and again."""

    damaged = 0

    def __init__(self) -> None:
        digits = load_digits()
        self.images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 8 - 1
        self.labels = torch.tensor(digits.target)
        self.position = 0

    def draw(self, batch_size: int, times: int = 1, *, resolution: int | None = None) -> list[Batch]:
        return [self._next(batch_size) for _ in range(times)]

    def _next(self, count: int) -> Batch:
        places = torch.arange(self.position, self.position + count) % len(self.images)
        self.position += count
        return Batch(self.images[places], self.labels[places])


def sliced_distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """Mean distance of sorted projections of pixels onto 64 random directions (sliced Wasserstein-1)."""
    generator = torch.Generator().manual_seed(1)
    directions = torch.randn(64, a[0].numel(), generator=generator)
    directions /= directions.norm(dim=1, keepdim=True)
    first, second = ((x.flatten(1) @ directions.T).sort(dim=0).values for x in (a, b))
    return float((first - second).abs().mean())


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
    family = build_family(config, ImageSpec(8, 8, 1, 10), batch_size=BATCH)
    torch.manual_seed(0)
    networks = family.networks()
    engine = Replicated(Process())
    engine.attach(networks, family.optimizers)
    stream = Digits()
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
