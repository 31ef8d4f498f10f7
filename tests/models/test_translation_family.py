"""Families that make images of images: terms against closed forms, stages, and that they learn."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.contracts import SECOND, Batch, Fakes, ImageSpec, Needs, Verdict
from pipeline.errors import UserError
from pipeline.losses import Play
from pipeline.models.translation.discriminators import Patches, PixelNet
from pipeline.models.translation.encoder import ContextEncoder
from pipeline.models.translation.inpainting import HoleDistance, KnownDistance, holes_of_heads
from pipeline.models.translation.resnet import Enhancer, halved
from pipeline.models.translation.terms import ADVERSARIAL_WEIGHT, Distance, FeatureMatching
from tests.models.test_every_family import stir
from tests.tiny_families import (
    BATCH,
    PLAIN,
    DigitStream,
    seeded_networks,
    tiny_family,
    tiny_game,
    tiny_sampler,
    tiny_trainer,
)


def played(name: str, **changes):
    family = tiny_family(name, PLAIN, **changes)
    networks = seeded_networks(family)
    stir(networks)
    (reals,) = DigitStream(family.spec).draw(BATCH)
    return family, networks, reals, lambda: tiny_game(family, networks)


def turn_of(family, net: str):
    return next(phase.objective for phase in family.phases if phase.name == net)


# ---- terms


def test_terms_pull_towards_what_was_to_be_made():
    fakes, reals = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    play = Play(None, Batch(reals), Fakes(fakes, None, fakes), None, Verdict(torch.zeros(2)))
    expected = 3 * (fakes - reals).abs().mean((1, 2, 3))
    torch.testing.assert_close(Distance(3.0)(play).loss, expected)
    doubled = Distance(3.0, lambda images: 2 * images)(play).loss
    torch.testing.assert_close(doubled, 3 * (fakes - 2 * reals).abs().mean((1, 2, 3)))


def test_features_are_compared_layer_by_layer_at_every_scale():
    network = Patches(1, 4, 1, 2, telling=True)
    fakes, reals = torch.rand(2, 1, 16, 16), torch.rand(2, 1, 16, 16)
    verdicts = network(fakes), network(reals)
    play = Play(None, Batch(reals), Fakes(fakes, None, fakes), verdicts[1], verdicts[0])
    expected = torch.zeros(2)
    for number, patches in enumerate(network.scales):
        ours, theirs = ((halved(x) if number else x) for x in (fakes, reals))
        for a, b in zip(patches.features(ours)[:-1], patches.features(theirs)[:-1], strict=True):
            expected = expected + (a - b).abs().mean((1, 2, 3)) / 2
    torch.testing.assert_close(FeatureMatching(5.0)(play).loss, 5 * expected)
    assert len(verdicts[0].heads) == 2


def test_the_discriminator_sees_what_an_image_is_made_of():
    family, networks, reals, game = played("pix2pix")
    other = Batch(reals.images, None, {**reals.extra, "input": reals.extra["input"].flip(0)})
    told = game().judge(reals.images, None).logits
    moved = family.game(networks, family.schedule.at(0), game().randomness, other)
    assert not torch.allclose(told, moved.judge(reals.images, None).logits)
    assert not torch.equal(game().generate(BATCH).images, moved.generate(BATCH).images)


def test_logits_without_a_hole_change_sides():
    """The discriminator is to find known parts of fakes real; the generator learns nothing from them."""
    family, _, reals, game = played(
        "inpainting", holes="boxes", r1_gamma=0.0, distance_weight=0.0, feature_weight=0
    )
    playing = game()
    fakes = playing.generate(BATCH)
    fake, real = (playing.judge(x, None) for x in (fakes.images, reals.images))
    (holes,) = holes_of_heads(playing, fake)
    assert 0 < holes.mean() < 1
    terms = turn_of(family, "generator")(game(), reals)
    expected = (F.softplus(-fake.heads[0]) * holes).mean(1)
    weight = family.schedule.at(0).weights[ADVERSARIAL_WEIGHT]
    torch.testing.assert_close(terms.loss, expected * weight, rtol=1e-4, atol=1e-5)
    judging = turn_of(family, "discriminator")(game(), reals).loss
    targets = torch.where(holes > 0, F.softplus(fake.heads[0]), F.softplus(-fake.heads[0]))
    torch.testing.assert_close(judging, (F.softplus(-real.heads[0]) + targets).mean(1), rtol=1e-4, atol=1e-5)


def test_a_logit_has_a_hole_where_its_place_in_the_grid_has_one():
    family = tiny_family("inpainting", ImageSpec(16, 16, 1), holes="centre")
    networks = seeded_networks(family)
    images = torch.zeros(BATCH, 1, 16, 16)
    playing = tiny_game_of(family, networks, images)
    verdict = playing.judge(images, None)
    (holes,) = holes_of_heads(playing, verdict)
    (network,) = networks.discriminator.scales
    grid = network.grid(16, 16)
    assert network.features(images)[-1].shape[2:] == grid
    assert holes.shape == verdict.heads[0].shape
    known = holes.view(BATCH, *grid)
    assert not known[:, 0].any()
    assert known[:, grid[0] // 2, grid[1] // 2].all()


def test_known_pixels_and_holes_are_counted_apart():
    _, _, reals, game = played("inpainting", holes="centre")
    playing = game()
    fakes = reals.images + 0.5
    play = Play(playing, reals, Fakes(fakes, None, fakes), None, Verdict(torch.zeros(BATCH)))
    torch.testing.assert_close(KnownDistance(2.0)(play).loss, torch.full((BATCH,), 2 * 0.5 * 0.75))
    torch.testing.assert_close(HoleDistance(2.0, 0)(play).loss, torch.full((BATCH,), 2 * 0.25))
    # Of 4x4 pixels in the hole, 12 lie within one of its border.
    torch.testing.assert_close(HoleDistance(2.0, 1)(play).loss, torch.full((BATCH,), 2 * 0.25 * 124 / 16))


def test_the_context_encoder_fills_the_centre_alone():
    changes = {
        "generator": "encoder",
        "holes": "centre",
        "bottleneck": 6,
        "hole_weight": 1.0,
        "discriminator_layers": 1,
    }
    spec = ImageSpec(16, 16, 1)
    family = tiny_family("inpainting", spec, **changes)
    networks = seeded_networks(family)
    assert isinstance(networks.generator, ContextEncoder)
    made = networks.generator(torch.rand(4, 2, 16, 16), [])
    inside = torch.zeros(16, 16, dtype=torch.bool)
    inside[4:12, 4:12] = True
    assert not made[..., ~inside].any()
    assert made[..., inside].all()
    seen = []
    networks.discriminator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    images = torch.rand(4, 1, 16, 16)
    tiny_game_of(family, networks, images).judge(images, None)
    assert seen == [(4, 1, 8, 8)]


def tiny_game_of(family, networks, images: Tensor):
    from pipeline.randomness import SampleRandomness

    return family.game(networks, family.schedule.at(0), SampleRandomness(range(len(images))), Batch(images))


def test_every_pixel_is_judged():
    network = PixelNet(3, 4)
    assert network(torch.rand(2, 3, 16, 24)).heads[0].shape == (2, 16 * 24)


# ---- stages


def test_rates_fall_to_nothing_and_the_discriminator_comes_later():
    family = tiny_family("superres", decay_from_images=100, decay_images=50, adversarial_from_images=40)
    early, middle, late = (family.schedule.at(images) for images in (0, 125, 10_000))
    assert ADVERSARIAL_WEIGHT not in early.weights
    assert middle.weights[ADVERSARIAL_WEIGHT] == 1
    assert middle.rates["generator"] == pytest.approx(early.rates["generator"] / 2)
    assert late.rates == {"generator": 0, "discriminator": 0}
    assert {phase.begins for phase in family.phases if phase.trains == "discriminator"} == {40}


def test_an_inner_network_keeps_its_weights_until_it_may_learn():
    changes = {"generator": "enhancer", "halvings": 1, "blocks": 1, "enhancer_blocks": 1}
    trainer = tiny_trainer(tiny_family("pix2pix", PLAIN, inner_from_images=16, **changes))
    network = trainer.networks.generator
    assert isinstance(network, Enhancer)

    def moved() -> list[bool]:
        """Whether a step changes the inner network, and the enhancer's last layer."""
        watched = network.inner.stem.first.weight, network.last.weight
        before = [weight.detach().clone() for weight in watched]
        trainer.step()
        return [not torch.equal(old, new) for old, new in zip(before, watched, strict=True)]

    assert [moved() for _ in range(3)] == [[False, True], [False, True], [True, True]]


@pytest.mark.parametrize(
    ("name", "spec", "changes", "said"),
    [
        ("pix2pix", PLAIN, {"given": "edges"}, "family.given=edges: the data's samples have no such field"),
        ("pix2pix", PLAIN, {"codes": 3}, "family.given=input: a field of kind image; label maps"),
        ("pix2pix", PLAIN, {"levels": 4}, "family.levels=4: images of 8x8"),
        ("superres", ImageSpec(12, 12, 1), {}, "allowed: sides that are multiples of 8"),
        ("superres", PLAIN, {"crop": 16}, "family.crop=16: images of 8x8 .*allowed: up to 8"),
        (
            "inpainting",
            PLAIN,
            {"holes": "field"},
            "family.given=holes: the data's samples have no such field",
        ),
        ("inpainting", ImageSpec(9, 9, 1), {}, "family.halvings=1: images of 9x9"),
        ("cyclegan", ImageSpec(9, 8, 1), {}, "family.halvings=1: images of 9x8"),
    ],
)
def test_data_that_cannot_be_used_are_refused_in_a_line(name, spec, changes, said):
    with pytest.raises(UserError, match=said):
        tiny_family(name, spec, **changes)


def test_families_ask_for_what_they_need():
    assert tiny_family("cyclegan").needs == Needs(second=True)
    assert tiny_family("pix2pix").needs.fields == ("input",)
    assert set(tiny_family("superres", perceptual_weight=1.0).needs.fixtures) == {"perceptual"}


# ---- learning, each against what is trivial


def errors(trainer, steps: int) -> tuple[float, float]:
    """The mean distance from what was to be made, of the trained and of an untrained generator."""
    digits = DigitStream(trainer.family.spec)
    wanted = digits.images[:200]

    def now() -> float:
        made = tiny_sampler(trainer.family, trainer.averager.average).draw(range(200)).images
        return float((made - wanted).abs().mean())

    before = now()
    for _ in range(steps):
        trainer.step()
    return now(), before


RATES = {"generator_rate": 4e-3, "discriminator_rate": 1e-3, "ema_half_life_images": 50}


@pytest.mark.slow
def test_pix2pix_learns_digits_from_their_silhouettes():
    changes = {
        "generator_channels": 16,
        "levels": 3,
        "feature_weight": 0,
        "distance_weight": 100,
        "r1_gamma": 0,
        **RATES,
    }
    after, before = errors(tiny_trainer(tiny_family("pix2pix", PLAIN, **changes)), 100)
    images = DigitStream(PLAIN).images
    mean = float((images[:200] - images.mean(0)).abs().mean())
    assert after < 0.6 * min(mean, before)


@pytest.mark.slow
def test_superres_learns_more_than_interpolation_knows():
    changes = {"degradation": "bicubic", "generator": "srresnet", "generator_channels": 16, "blocks": 2}
    family = tiny_family("superres", PLAIN, **changes, adversarial_from_images=10**9, **RATES)
    trainer = tiny_trainer(family)
    images = DigitStream(PLAIN).images[:200]
    small = family.giving.inputs(Batch(images), None)
    plain = F.interpolate(small, scale_factor=2, mode="bicubic")
    after, _ = errors(trainer, 150)
    assert after < 0.8 * float((plain - images).abs().mean())


@pytest.mark.slow
def test_inpainting_learns_what_belongs_into_holes():
    changes = {
        "generator_channels": 8,
        "hole_weight": 20.0,
        "adversarial_weight": 0.1,
        "feature_weight": 0,
        "r1_gamma": 0,
    }
    family = tiny_family("inpainting", PLAIN, holes="centre", blocks=2, **changes, **RATES)
    after, before = errors(tiny_trainer(family), 80)
    images = DigitStream(PLAIN).images
    hole = torch.zeros(8, 8)
    hole[2:6, 2:6] = 1
    mean = float(((images[:200] - images.mean(0)).abs() * hole).mean())
    assert after < 0.8 * min(mean, before)


@pytest.mark.slow
def test_cyclegan_learns_the_other_set_and_the_way_back():
    """The second set is the negatives of the digits, in another order."""
    changes = {"generator_channels": 8, "discriminator_channels": 16, "identity_weight": 0, **RATES}
    trainer = tiny_trainer(tiny_family("cyclegan", PLAIN, **changes))
    images = DigitStream(PLAIN).images[:200]

    def apart() -> tuple[float, float]:
        makers = trainer.averager.average
        with torch.no_grad():
            there = makers.there(images, [])
            return float((there + images).abs().mean()), float((makers.back(there, []) - images).abs().mean())

    before = apart()
    for _ in range(160):
        trainer.step()
    after = apart()
    assert after[0] < 0.7 * before[0]
    assert after[1] < 0.7 * before[1]


def test_half_of_the_fakes_are_of_older_generators():
    """Of none before there are any; then of those that were there at the last renewal."""
    trainer = tiny_trainer(tiny_family("cyclegan", PLAIN, pool_images=16))
    older = trainer.family.older
    assert not older.known
    trainer.step()
    assert older.known
    kept = {name: value.clone() for name, value in older.networks.state_dict().items()}
    for name, value in trainer.networks.generator.state_dict().items():
        torch.testing.assert_close(kept[name], value)
    trainer.step()
    assert all(torch.equal(older.networks.state_dict()[name], value) for name, value in kept.items())
    trainer.step()
    assert not all(torch.equal(older.networks.state_dict()[name], value) for name, value in kept.items())
    assert SECOND in trainer.stream.draw(8)[0].extra
