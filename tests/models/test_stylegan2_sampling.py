"""What a seed makes, and what changes over images seen: sampler and schedule."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from pipeline.contracts import ImageSpec
from pipeline.errors import UserError
from pipeline.latents import MovableSpace, moves_of
from pipeline.randomness import SampleRandomness
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


def test_classes_must_match_the_seeds():
    family, networks = tiny(ImageSpec(16, 16, 3, 3))
    sampler = family.sampler(networks.generator)
    with pytest.raises(UserError, match="2 for 3 seeds; give one class an image"):
        sampler.draw([1, 2, 3], classes=[0, 1])
    with pytest.raises(UserError, match="no class -1; allowed: 0 to 2"):
        sampler.draw([1, 2], classes=[0, -1])


def test_asking_for_the_class_a_seed_would_draw_gives_the_same_image():
    """And for another class another image, of the same z."""
    family, networks = tiny(ImageSpec(16, 16, 3, 3))
    sampler = family.sampler(networks.generator)
    drawn = sampler.draw(range(12))
    assert set(drawn.labels.tolist()) == {0, 1, 2}
    assert torch.equal(sampler.draw(range(12), classes=drawn.labels.tolist()).images, drawn.images)
    others = sampler.draw(range(12), classes=[(c + 1) % 3 for c in drawn.labels.tolist()])
    difference = (others.images - drawn.images).abs().amax(dim=(1, 2, 3))
    assert (difference > 1e-3).all()


def test_the_sampler_draws_what_its_parts_say():
    """z from the seed's own stream, truncated w in every layer, the stored noise."""
    family, networks = tiny()
    generator = networks.generator
    generator.mapping.w_avg.normal_()
    for name, parameter in generator.named_parameters():
        if name.endswith("noise_strength"):
            parameter.data.fill_(0.3)
    fakes = family.sampler(generator).draw([11, 2**62], truncation=0.4)
    z = SampleRandomness([11, 2**62]).normal(12)
    w = generator.mapping.w_avg * 0.6 + 0.4 * generator.mapping(z, None)
    ws = w[:, None].repeat(1, 6, 1)
    torch.testing.assert_close(fakes.latents, ws, rtol=1e-4, atol=1e-5)
    constants = [c.noise_const.expand(2, 1, -1, -1) for b in generator.synthesis.blocks for c in b.convs]
    torch.testing.assert_close(fakes.images, generator.synthesis(ws, constants), rtol=1e-4, atol=1e-5)
    assert not fakes.images.requires_grad
    assert fakes.labels is None


def test_nothing_asked_nothing_drawn():
    family, networks = tiny(ImageSpec(16, 16, 3, 3))
    fakes = family.sampler(networks.generator).draw([])
    assert fakes.images.shape == (0, 3, 16, 16)
    assert fakes.labels.shape == (0,)


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
    beta1, _ = tiny(adam_beta1=0.5, r1_every=3)
    assert beta1.optimizers["discriminator"].beta1 == pytest.approx(0.5**0.75)
    assert beta1.optimizers["discriminator"].eps == 1e-8  # not raised to any power
    plain, _ = tiny(r1_gamma=0, path_length_weight=0)
    assert [phase.name for phase in plain.phases] == ["generator", "discriminator"]
    assert plain.optimizers["generator"].beta2 == plain.optimizers["discriminator"].beta2 == 0.99
    assert plain.schedule.at(0).rates == {"generator": 0.002, "discriminator": 0.002}


@pytest.mark.parametrize("seen", [0, 100, 10_000, 10_000_000])
def test_the_average_halves_in_its_half_life(seen):
    family, _ = tiny(ema_half_life_images=10_000)
    assert family.schedule.at(seen).ema_beta ** (10_000 / 8) == pytest.approx(0.5)
    ramped, _ = tiny(ema_half_life_images=10_000, ema_ramp=0.05)
    beta, half_life = ramped.schedule.at(seen).ema_beta, min(10_000, 0.05 * seen)
    assert beta == pytest.approx(0.5 ** (8 / half_life) if half_life else 0.0)


def test_no_half_life_means_no_average():
    family, _ = tiny(ema_half_life_images=0, ema_ramp=0.05)
    assert family.schedule.at(0).ema_beta == family.schedule.at(10_000).ema_beta == 0


def test_the_stage_is_the_same_throughout_but_for_the_average():
    family, _ = tiny(ema_ramp=0.05)
    early, late = family.schedule.at(8), family.schedule.at(10_000_000)
    assert (early.resolution, early.fade, early.batch_size, early.growth) == (16, 1.0, 8, 0)
    assert replace(early, ema_beta=0) == replace(late, ema_beta=0)
    assert early.ema_beta < late.ema_beta


@pytest.mark.parametrize("spec", [ImageSpec(16, 16, 3), ImageSpec(16, 32, 3)], ids=["square", "wide"])
def test_moving_moves_the_constant_and_leaves_the_noise(spec):
    """By one of its pixels, by half a turn, and by half a pixel: a mean of two."""
    family, networks = tiny(spec)
    generator = networks.generator.eval().requires_grad_(False)
    for conv in generator.synthesis.convolutions:
        conv.noise_strength.fill_(0.3)
    sampler = family.sampler(generator)
    assert isinstance(sampler, MovableSpace)
    codes = sampler.map(*sampler.latents([3, 4]))
    const = generator.synthesis.const
    width = const.shape[2]
    beside = torch.nn.functional.pad(const, (1, 0))[..., :-1]
    above = torch.nn.functional.pad(const, (0, 0, 0, 1))[:, 1:]
    cases = [((0, 0), 0, const.clone()), ((1, 0), 0, beside), ((0, -1), 0, above)]
    cases += [((0, 0), math.pi, const.flip(1, 2)), ((0.5, 0), 0, (const + beside) / 2)]
    begin = const.clone()
    for (x, y), angle, expected in cases:
        moves = moves_of(torch.tensor([[x / width, y / width]]), torch.tensor([float(angle)]))
        const.copy_(begin)
        moved = sampler.synthesise_moved(codes, moves[0])
        const.copy_(expected)
        torch.testing.assert_close(moved, sampler.synthesise(codes), atol=1e-5, rtol=1e-4)
