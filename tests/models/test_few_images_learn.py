"""What keeps a discriminator from knowing 16 digits by heart: it then takes others for as real as those."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor

from tests.tiny_families import PLAIN, tiny_family, tiny_trainer

pytestmark = pytest.mark.slow
FEW, STEPS = 16, 300
# Without penalties, with a discriminator that learns fast.
PLAIN_GAN = {
    "loss": "non_saturating",
    "gp_weight": 0.0,
    "drift_weight": 0.0,
    "discriminator_repeats": 1,
    "generator_rate": 0.0005,
    "discriminator_rate": 0.002,
    "width": 64,
    "diffusion": {"mode": "off"},
}
HIDES = {
    "diffaugment": {"diffaugment": ["color", "translation", "cutout"]},
    "apa": {"apa": {"mode": "adaptive", "every": 1, "adjust_images": 1000, "target": 0.2}},
    "diffusion": {"diffusion": {"mode": "fixed", "p": 1.0, "told": False, "noise": 0.5}},
}


@cache
def logits(hides: str, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of the digits that it was trained on, of others, and of fakes."""
    family = tiny_family("mlp", PLAIN, **{**PLAIN_GAN, **HIDES.get(hides, {})})
    trainer = tiny_trainer(family, seed=seed)
    stream = trainer.stream
    digits = stream.images
    stream.images, stream.labels = digits[:FEW], stream.labels[:FEW]
    for _ in range(STEPS):
        trainer.step()
    judge = trainer.networks.discriminator
    fakes = family.sampler(trainer.networks.generator).draw(range(256)).images
    with torch.no_grad():
        known, others, made = (judge(x, None).logits for x in (digits[:FEW], digits[FEW:528], fakes))
    return known, others, made


def gap(hides: str, seed: int) -> float:
    known, others, _ = logits(hides, seed)
    return float(known.mean() - others.mean())


def test_without_anything_it_knows_them_by_heart():
    for seed in (1, 2):
        known, others, _ = logits("nothing", seed)
        assert gap("nothing", seed) > 1.5
        assert (known[:, None] > others).float().mean() > 0.6


@pytest.mark.parametrize("hides", HIDES)
def test_the_gap_is_narrower_and_it_still_tells_fakes(hides):
    for seed in (1, 2):
        assert gap(hides, seed) < 0.6 * gap("nothing", seed)
        _, others, made = logits(hides, seed)
        assert (others[:, None] > made).float().mean() > 0.6
