"""R3GAN's schedule, phases and augmentation, and its published settings."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from pipeline.config.families import R3GANConfig
from pipeline.config.load import load_config
from pipeline.contracts import ImageSpec
from pipeline.models.r3gan import R3GAN
from pipeline.models.registry import build_family
from tests.tiny_families import BATCH, DigitStream, seeded_networks, tiny_family, tiny_game, tiny_trainer

CONFIGS = Path(__file__).parents[2] / "configs"


def stage_at(images: int, **changes):
    config = R3GANConfig(widths=[8, 8], cardinalities=[2, 2], blocks=[1, 1], **changes)
    return R3GAN(config, ImageSpec(8, 8, 3), batch_size=256).schedule.at(images)


@pytest.mark.parametrize(
    ("images", "rate", "beta2", "gamma", "half_life", "p"),
    [
        (0, 2e-4, 0.9, 150, 0, 0),
        (10_000_000, 1.25e-4, 0.945, 82.5, 250_000, 0.15),
        (20_000_000, 5e-5, 0.99, 15, 500_000, 0.3),
        (90_000_000, 5e-5, 0.99, 15, 500_000, 0.3),
    ],
)
def test_everything_moves_along_half_a_cosine(images, rate, beta2, gamma, half_life, p):
    stage = stage_at(images)
    assert stage.rates == pytest.approx({"generator": rate, "discriminator": rate})
    assert stage.adam_beta2 == pytest.approx({"generator": beta2, "discriminator": beta2})
    assert stage.weights == pytest.approx({"r1_gamma": gamma, "r2_gamma": gamma, "augment_p": p})
    assert stage.ema_beta == pytest.approx(0.5 ** (256 / half_life) if half_life else 0)


def test_a_quarter_of_the_way_is_not_linear():
    share = (1 - math.sqrt(0.5)) / 2  # (1 - cos(pi / 4)) / 2
    assert stage_at(5_000_000).weights["r1_gamma"] == pytest.approx(150 - 135 * share)


def test_a_lazy_penalty_slows_its_network_down():
    """R1 every 4 steps and R2 in the turn: c = 4 / 5 (Karras et al. 2020a, appendix B)."""
    stage = stage_at(20_000_000, r1_every=4)
    assert stage.rates == pytest.approx({"generator": 5e-5, "discriminator": 5e-5 * 0.8})
    assert stage.adam_beta2 == pytest.approx({"generator": 0.99, "discriminator": 0.99**0.8})


def test_the_average_may_start_late_or_ramp():
    assert stage_at(20_000_000, ema_from_images=30_000_000).ema_beta == 0
    ramped = stage_at(20_000_000, ema_ramp=0.001).ema_beta
    assert ramped == pytest.approx(0.5 ** (256 / 20_000))


def test_the_discriminators_turn_is_the_papers_loss_with_both_penalties():
    """softplus(D(G(z)) - D(x)) + gamma / 2 * (|grad D(x)|^2 + |grad D(G(z))|^2) (eq. 2 to 4), at the gamma of
    the middle of the burn-in; the generator's is its mirror image."""
    family = tiny_family("r3gan", augment_p_end=0.0)
    networks = seeded_networks(family)
    (reals,) = DigitStream().draw(BATCH)
    turns = {phase.name: phase for phase in family.phases}
    assert list(turns) == ["discriminator", "generator"]
    found = turns["discriminator"].objective(tiny_game(family, networks, images_seen=30), reals)
    fakes = tiny_game(family, networks).generate(BATCH, reals.labels).images.detach()

    def judged(images):
        images = images.clone().requires_grad_()
        logits = networks.discriminator(images, reals.labels).logits
        (gradient,) = torch.autograd.grad(logits.sum(), images)
        return logits, gradient.square().flatten(1).sum(dim=1)

    (real, r1), (fake, r2) = judged(reals.images), judged(fakes)
    torch.testing.assert_close(
        found.loss, F.softplus(fake - real) + 82.5 / 2 * (r1 + r2), rtol=1e-4, atol=1e-4
    )
    found = turns["generator"].objective(tiny_game(family, networks, images_seen=30), reals)
    torch.testing.assert_close(found.loss, F.softplus(real - fake), rtol=1e-4, atol=1e-4)


def test_a_step_shows_each_network_reals_of_its_own():
    trainer, seen = tiny_trainer(tiny_family("r3gan")), {}

    def watched(phase):
        def objective(game, reals):
            seen.setdefault(phase.name, []).append(reals)
            return phase.objective(game, reals)

        return dataclasses.replace(phase, objective=objective)

    trainer.family.phases = tuple(map(watched, trainer.family.phases))
    for _ in range(3):
        trainer.step()
    assert trainer.progress.images_seen == 3 * BATCH
    of_d, of_g = (torch.cat([b.images for b in seen[net]]) for net in ("discriminator", "generator"))
    assert torch.equal(of_d, torch.cat([b.images for b in DigitStream().draw(BATCH, 3)]))
    assert torch.equal(of_g, torch.cat([b.images for b in DigitStream().others.draw(BATCH, 3)]))
    assert not torch.equal(of_d, of_g)


# ---- augmentation


def augmented(images, seen: int, **changes):
    """What the discriminator is shown of `images` at a position."""
    family = tiny_family("r3gan", ImageSpec(8, 8, images.shape[1]), **changes)
    networks = seeded_networks(family)
    shown = []
    networks.discriminator.register_forward_pre_hook(lambda _, inputs: shown.append(inputs[0]))
    tiny_game(family, networks, count=len(images), images_seen=seen).judge(images, None)
    return shown[0]


def test_augmentation_follows_the_schedule():
    images = torch.randn(400, 1, 8, 8)
    flips = {"augment_kinds": ["cutout"], "augment_p_end": 0.5}
    assert torch.equal(augmented(images, 0, **flips), images)
    for seen, p in ((30, 0.25), (60, 0.5)):
        touched = (augmented(images, seen, **flips) != images).flatten(1).any(dim=1)
        assert touched.float().mean().item() == pytest.approx(p, abs=0.08)


def test_colours_have_their_share_of_p():
    images = torch.rand(400, 1, 8, 8) + 0.1
    settings = {"augment_kinds": ["color"], "augment_p_end": 0.5}

    def untouched(share: float) -> float:
        same = augmented(images, 60, augment_color=share, **settings) == images
        return same.flatten(1).all(dim=1).float().mean().item()

    assert untouched(0.0) == 1
    full, half = untouched(1.0), untouched(0.5)
    operations = math.log(full) / math.log(0.5)  # so many may touch a grey image
    assert half == pytest.approx(0.75**operations, abs=0.08)


# ---- published settings: batch, widths over 96, gamma, images of the burn-in, half-life, augmentation

PUBLISHED = {
    "ffhq-256": (256, [8, 8, 8, 8, 4, 2, 1], 150, 20e6, 500e3, 0.3),
    "ffhq-64": (256, [8, 8, 8, 8, 4], 2, 20e6, 500e3, 0.3),
    "cifar10": (512, [8, 8, 8, 8], 0.05, 20e6, 5e6, 0.55),
    "imagenet-64": (4096, [16] * 5, 1, 200e6, 50e6, 0.4),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_settings(name):
    config = load_config(CONFIGS / f"r3gan-{name}.yaml")
    family = config.family
    batch, widths, gamma, burn_in, half_life, p = PUBLISHED[name]
    assert config.batch.size == batch
    assert list(family.widths) == [96 * width for width in widths]
    assert set(family.blocks) == {2}
    assert (family.expansion, family.z_dim, family.label_dim) == (2, 64, 64)
    assert (family.r1_gamma, family.r2_gamma) == (gamma, gamma)
    assert (family.r1_gamma_end, family.r2_gamma_end) == pytest.approx((gamma / 10, gamma / 10))
    assert (family.burn_in_images, family.ema_half_life_images_end) == (burn_in, half_life)
    assert (family.augment_p, family.augment_p_end, family.augment_color) == (0, p, 0.5)
    assert family.augment_kinds == ("blit", "geometry", "color", "cutout")
    for net in ("generator", "discriminator"):
        assert (getattr(family, f"{net}_rate"), getattr(family, f"{net}_rate_end")) == (2e-4, 5e-5)
    assert (family.adam_beta1, family.adam_beta2, family.adam_beta2_end) == (0, 0.9, 0.99)
    side = config.data.resolution
    build_family(family, ImageSpec(side, side, 3, 10), batch_size=batch)
