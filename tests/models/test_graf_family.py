"""GRAF's generator, sampler, game, schedule and discriminator."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from pipeline.config.families import GRAFConfig
from pipeline.contracts import AdamRule, ImageSpec, RMSPropRule
from pipeline.errors import UserError
from pipeline.latents import OrbitedSpace
from pipeline.models.graf.camera import Camera, pixel_places
from pipeline.models.graf.discriminator import Discriminator
from pipeline.models.graf.generator import APPEARANCE, SHAPE, VIEW
from pipeline.models.graf.schedule import DENSITY_NOISE, LEAST_SCALE
from pipeline.randomness import SampleRandomness
from tests.models.test_graf import generator_of, normal
from tests.tiny_families import (
    BATCH,
    PLAIN,
    seeded_networks,
    sliced_distance,
    tiny_config,
    tiny_family,
    tiny_game,
    tiny_trainer,
)

# The generator and its sampler.


@pytest.mark.parametrize("at_once", [1, 7, 64, 10_000])
def test_images_are_the_same_in_chunks_of_any_size(at_once):
    _, generator = generator_of()
    codes = generator.code(normal(2, generator.z_dim), None)
    whole = generator.see(codes, pixel_places(8)).transpose(1, 2).reshape(2, 3, 8, 8)
    generator.config = generator.config.model_copy(update={"rays_at_once": at_once})
    torch.testing.assert_close(generator.image(codes), whole, atol=1e-5, rtol=0)


def test_a_scene_can_be_rendered_at_any_resolution():
    """Of odd sides, the pixel in the middle is the same ray; the pixels of the third part are near."""
    family, generator = generator_of()
    codes = generator.code(normal(2, generator.z_dim), None)
    images = [family.sampler(generator).render(codes, side) for side in (5, 15)]
    assert [image.shape for image in images] == [(2, 3, 5, 5), (2, 3, 15, 15)]
    torch.testing.assert_close(images[0][:, :, 2, 2], images[1][:, :, 7, 7], atol=1e-5, rtol=0)
    torch.testing.assert_close(images[0], images[1][:, :, 1::3, 1::3], atol=1e-5, rtol=0)


def test_codes_are_shape_appearance_and_pose():
    family, generator = generator_of(ImageSpec(8, 8, 3, 10))
    z, labels = normal(2, generator.z_dim), torch.tensor([3, 7])
    codes = generator.code(z, labels)
    label = generator.embed(labels)
    torch.testing.assert_close(codes[:, SHAPE, :10], torch.cat([z[:, :6], label], dim=1))
    torch.testing.assert_close(codes[:, APPEARANCE, :9], torch.cat([z[:, 6:11], label], dim=1))
    torch.testing.assert_close(codes[:, VIEW, :3], Camera(family.config).pose(z[:, 11:]))
    assert not codes[:, APPEARANCE, 9:].any()
    assert not codes[:, VIEW, 3:].any()


def test_a_scene_is_seen_from_elsewhere():
    family, generator = generator_of()
    space = family.sampler(generator)
    assert isinstance(space, OrbitedSpace)
    assert space.azimuths == (0.0, 360.0)
    codes = space.map(*space.latents([1, 2]))
    there = space.seen_from(codes, torch.tensor([30.0, 90.0]), torch.tensor([45.0, 60.0]))
    assert there[:, VIEW, 0].tolist() == pytest.approx([math.pi / 6, math.pi / 2])
    assert there[:, VIEW, 1].tolist() == pytest.approx([math.pi / 4, math.pi / 3])
    assert torch.equal(there[:, VIEW, 2:], codes[:, VIEW, 2:])
    assert torch.equal(there[:, :VIEW], codes[:, :VIEW])
    kept = space.seen_from(codes, torch.tensor([30.0, 90.0]))
    assert torch.equal(kept[:, VIEW, 1], codes[:, VIEW, 1])
    round_the_pole = [
        space.synthesise(space.seen_from(codes, torch.full((2,), a))) for a in (20.0, 380.0, 200.0)
    ]
    torch.testing.assert_close(round_the_pole[0], round_the_pole[1], atol=1e-4, rtol=0)
    assert (round_the_pole[0] - round_the_pole[2]).abs().max() > 1e-3


# The game.


def test_noise_on_densities_is_that_of_the_stage():
    family, _ = generator_of()
    networks = seeded_networks(family)
    late = family.schedule.at(10**6)
    assert DENSITY_NOISE not in late.weights
    images = []
    for strength in (None, 0.0, 1.0):
        weights = dict(late.weights) if strength is None else {**late.weights, DENSITY_NOISE: strength}
        stage = family.schedule.at(0).__class__(8, 1.0, BATCH, {}, weights=weights)
        images.append(family.game(networks, stage, SampleRandomness(range(BATCH))).generate(BATCH).images)
    assert torch.equal(images[0], images[1])
    assert not torch.allclose(images[0], images[2])


def test_labels_reach_both_codes_and_the_discriminator():
    family = tiny_family("graf")
    networks = seeded_networks(family)
    labels = torch.arange(BATCH) % 10
    first, second = (tiny_game(family, networks).generate(BATCH, given) for given in (labels, labels + 1))
    assert not torch.allclose(first.images, second.images)


# The schedule.


@pytest.mark.parametrize(
    ("seen", "least", "noise", "halvings"),
    [
        (0, 0.9, 1.0, 0),  # the authors' iteration 0
        (7_999, 0.9, 1 - 7_999 / 40_000, 0),
        (20_000, 0.9, 0.5, 0),
        (14 * 8000, 0.9, None, 0),  # exp(-0.105) is 0.9003
        (15 * 8000, math.exp(-0.1125), None, 0),
        (100 * 8000 - 1, math.exp(-0.7425), None, 1),
        (100 * 8000, math.exp(-0.75), None, 2),
        (184 * 8000, math.exp(-1.38), None, 2),
        (185 * 8000, 0.25, None, 2),
        (10**9, 0.25, None, 3),
    ],
)
def test_patches_shrink_noise_vanishes_and_rates_halve(seen, least, noise, halvings):
    config = GRAFConfig()
    family = tiny_family("graf", PLAIN)
    schedule = type(family.schedule)(config, 8, 8, 8, {"generator": 1.0, "discriminator": 1.0})
    stage = schedule.at(seen)
    assert stage.weights[LEAST_SCALE] == pytest.approx(least)
    assert stage.weights.get(DENSITY_NOISE) == (None if noise is None else pytest.approx(noise))
    assert stage.rates == pytest.approx(
        {"generator": 5e-4 * 0.5**halvings, "discriminator": 1e-4 * 0.5**halvings}
    )
    assert stage.ema_beta == pytest.approx(0.999, abs=1e-6)


def test_a_least_scale_that_does_not_move_is_the_one_that_was_given():
    family = tiny_family("graf", patch_scale=[0.95, 1.0], patch_scale_rate=0)
    assert family.schedule.at(0).weights[LEAST_SCALE] == 0.95


# Objectives and optimisers.


def test_r1_is_the_authors_penalty_over_rays():
    """10 times the sum of squares of an image's gradient, over the number of its rays."""
    config = GRAFConfig()
    gradients = normal(3, 1024, 3)
    theirs = 10 * gradients.square().sum(2).mean()
    ours = (config.r1_gamma / 2 * gradients.flatten(1).square().sum(1)).mean()
    torch.testing.assert_close(ours, theirs)


def test_optimisers_are_rmsprop_or_adam():
    assert tiny_family("graf").optimizers["generator"] == RMSPropRule(0.99)
    lazy = tiny_family("graf", r1_every=4).optimizers["discriminator"]
    assert lazy == RMSPropRule(pytest.approx(0.99**0.8))
    adam = tiny_family("graf", optimizer="adam", adam_beta1=0.5).optimizers["generator"]
    assert adam == AdamRule(0.5, 0.99)


# The discriminator.


class Torchs(nn.Module):
    """The same of torch's own layers."""

    def __init__(self, ours: Discriminator) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for conv in ours.convs:
            outputs, inputs = conv.weight.shape[:2]
            layers.append(self.spectral(nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False), conv))
            layers += [nn.InstanceNorm2d(outputs)] if conv.of_patches else []
            layers.append(nn.LeakyReLU(0.2))
        features = ours.convs[-1].weight.shape[0]
        layers.append(self.spectral(nn.Conv2d(features, 1, 4, bias=False), ours.out))
        self.layers = nn.Sequential(*layers)

    @staticmethod
    def spectral(layer, ours):
        layer.weight.data = ours.weight.detach().clone().reshape(layer.weight.shape)
        layer = nn.utils.spectral_norm(layer)
        layer.weight_u.copy_(ours.u)
        return layer

    def forward(self, x):
        return self.layers(x)[:, 0, 0, 0]


@pytest.mark.parametrize(("patch", "widths"), [(8, [32]), (32, [8, 16, 32]), (64, [4, 8, 16, 32])])
def test_the_discriminator_is_that_of_torchs_layers(patch, widths):
    torch.manual_seed(0)
    config = tiny_config("graf", patch=patch, discriminator_channels=4)
    ours = Discriminator(config, ImageSpec(patch, patch, 3))
    assert [len(conv.weight) for conv in ours.convs] == widths
    assert [conv.of_patches for conv in ours.convs] == [patch <= 32, *[True] * (len(widths) - 1)]
    theirs = Torchs(copy.deepcopy(ours))
    images = normal(3, 3, patch, patch).requires_grad_()
    for _ in range(2):  # the vectors of the power iteration go along
        found, expected = ours(images, None).logits, theirs(images)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    gradients = [torch.autograd.grad(y.sum(), images)[0] for y in (found, expected)]
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-3)


# What is refused.


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"patch": 24}, "patch: 24 is no power of two; allowed: 8, 16, 32"),
        ({"patch": 4}, "greater than or equal to 8"),
        ({"polar": [90, 60]}, "polar: 90 to 60; allowed: two numbers from 0 to 180, the smaller one first"),
        ({"polar": [0, 200]}, "polar: 0 to 200; allowed"),
        ({"azimuth": [-300, 300]}, "azimuth: more than one turn; allowed: up to 360"),
        ({"patch_scale": [0, 1]}, "0 is too small; allowed: above it"),
        ({"patch_scale": [0.5, 1.5]}, "patch_scale: 0.5 to 1.5; allowed: two numbers from 0 to 1"),
        ({"near": 12.5}, "near=12.5, far=12.5: .*rays begin at 12.5; allowed: from 0, and before they end"),
        ({"radius": [1, 10]}, "near=7.5, far=12.5: at the smallest radius, rays begin at -1.5"),
        ({"ray_samples": 1}, "greater than or equal to 2"),
    ],
)
def test_settings_that_mean_nothing_are_refused(changes, words):
    with pytest.raises(ValidationError, match=words):
        tiny_config("graf", **changes)


def test_patches_of_more_rays_than_pixels_are_refused_in_a_line():
    with pytest.raises(
        UserError, match=r"family\.patch: 16 rays a side are more than the 8 pixels .*up to 8"
    ):
        tiny_family("graf", patch=16)


def test_a_field_that_has_learnt_goes_on_without_noise():
    assert tiny_config("graf").transferred().density_noise == 0


@pytest.mark.slow
def test_it_learns():
    """Whole images by patches of all their rays; to digits from fog."""
    rates = {"generator_rate": 5e-3, "discriminator_rate": 2e-3, "rate_halving_images": []}
    shown = {"density_noise_images": 400, "patch_scale": [1.0, 1.0]}
    family = tiny_family("graf", PLAIN, **rates, **shown, discriminator_channels=8, r1_gamma=0.1)
    trainer = tiny_trainer(family)
    reals = trainer.stream.images[:400]

    def distance() -> float:
        sampler = family.sampler(trainer.averager.average)
        return sliced_distance(sampler.draw(range(400)).images, reals)

    control = distance()
    for _ in range(120):
        trainer.step()
    assert distance() < 0.5 * control
