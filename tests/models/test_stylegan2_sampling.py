"""What a seed makes, and what changes over images seen: sampler and schedule."""

from __future__ import annotations

import pytest
import torch

from pipeline.contracts import ImageSpec
from pipeline.errors import UserError
from tests.small_stylegan2 import tiny

# ---- sampler


def test_a_seed_is_an_image_in_any_company():
    family, networks = tiny(ImageSpec(16, 16, 3, 3))
    sampler = family.sampler(networks.generator.eval())
    together = sampler.draw([5, 6, 7, 8])
    for place, seed in enumerate([5, 6, 7, 8]):
        alone = sampler.draw([seed])
        assert torch.equal(alone.images[0], together.images[place])
        assert alone.labels[0] == together.labels[place]
    asked = sampler.draw([5, 6], classes=[2, 0])
    assert asked.labels.tolist() == [2, 0]
    assert not torch.equal(sampler.draw([5], truncation=0.5).images, together.images[:1])


def test_wrong_classes_are_refused():
    family, networks = tiny(ImageSpec(16, 16, 3, 3))
    sampler = family.sampler(networks.generator)
    with pytest.raises(UserError, match="no class 3; allowed: 0 to 2"):
        sampler.draw([1], classes=[3])
    family, networks = tiny()
    with pytest.raises(UserError, match="trained without labels"):
        family.sampler(networks.generator).draw([1], classes=[0])


# ---- schedule


def test_lazy_regularisation_scales_rates_and_decays():
    """Karras et al. 2020a, appendix B: c = k / (k + 1)."""
    family, _ = tiny(r1_every=16, path_length_every=4, generator_rate=0.002, discriminator_rate=0.001)
    rates = family.schedule.at(0).rates
    assert rates["generator"] == pytest.approx(0.002 * 4 / 5)
    assert rates["discriminator"] == pytest.approx(0.001 * 16 / 17)
    assert family.optimizers["generator"].beta2 == pytest.approx(0.99 ** (4 / 5))
    assert family.optimizers["discriminator"].beta2 == pytest.approx(0.99 ** (16 / 17))
    gains = {phase.name: (phase.every, phase.gain) for phase in family.phases}
    assert gains == {
        "generator": (1, 1.0), "path_length": (4, 4), "discriminator": (1, 1.0), "r1": (16, 16),
    }  # fmt: skip
    plain, _ = tiny(r1_gamma=0, path_length_weight=0)
    assert [phase.name for phase in plain.phases] == ["generator", "discriminator"]
    assert plain.schedule.at(0).rates == {"generator": 0.002, "discriminator": 0.002}


@pytest.mark.parametrize("seen", [0, 100, 10_000, 10_000_000])
def test_the_average_halves_in_its_half_life(seen):
    family, _ = tiny(ema_half_life_images=10_000)
    assert family.schedule.at(seen).ema_beta ** (10_000 / 8) == pytest.approx(0.5)
    ramped, _ = tiny(ema_half_life_images=10_000, ema_ramp=0.05)
    beta, half_life = ramped.schedule.at(seen).ema_beta, min(10_000, 0.05 * seen)
    assert beta == pytest.approx(0.5 ** (8 / half_life) if half_life else 0.0)
