"""The autoencoder as a family: its loss term by term, when the discriminator begins, and what it becomes with
other settings."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from pydantic import ValidationError

from pipeline.contracts import Batch, ImageSpec
from pipeline.errors import UserError
from pipeline.models.autoencoder import Autoencoder, moments_of
from pipeline.perceptual import PerceptualDistance, perceptual_from
from pipeline.randomness import SampleRandomness
from pipeline.training.state import put_back, take
from tests.tiny_families import (
    BATCH,
    PLAIN,
    DigitStream,
    seeded_networks,
    tiny_config,
    tiny_family,
    tiny_game,
    tiny_trainer,
)

NAME = "autoencoder"
DEGENERATE = {
    "plain": {"distribution": False, "discriminator": "none"},
    "gaussian": {"kl_weight": 1, "likelihood": "gaussian", "learned_scale": True, "discriminator": "none"},
    "bernoulli": {"kl_weight": 1, "likelihood": "bernoulli", "discriminator": "none"},
}


def digits() -> Batch:
    (reals,) = DigitStream(PLAIN).draw(BATCH)
    return reals


def family_of(**changes):
    return tiny_family(NAME, PLAIN, **changes)


def psnr(trainer, reals: torch.Tensor) -> float:
    sampler = trainer.family.sampler(trainer.averager.average)
    return float(10 * (4 / (sampler.reconstruct(reals) - reals).square().mean()).log10())


def test_the_loss_is_the_sum_of_its_terms():
    family = family_of(kl_weight=0.01, adversarial_weight=0.5, loss="hinge")
    networks, reals = seeded_networks(family), digits()
    family.balance.weight.fill_(3.0)
    (turn, _) = family.phases
    terms = turn.objective(tiny_game(family, networks), reals)
    autoencoder: Autoencoder = networks.generator
    moments = autoencoder.encode(reals.images)
    noise = SampleRandomness(range(BATCH)).normal(*moments.mean.shape[1:])
    images = autoencoder.decode(moments.mean + noise * (moments.log_variance / 2).exp())
    logits = networks.discriminator(images).logits
    expected = (
        torch.distributions.Laplace(images, 1).log_prob(reals.images).flatten(1).sum(1).neg()
        + 0.01 * moments.kl()
        - 3.0 * 0.5 * logits
    )
    torch.testing.assert_close(terms.loss, expected, rtol=1e-4, atol=1e-3)


def test_the_balance_is_between_the_gradients_of_the_last_layer():
    family = family_of(kl_weight=0)
    networks, reals = seeded_networks(family), digits()
    game = tiny_game(family, networks)
    family.observe(networks, family.phases[0].objective(game, reals).stats, BATCH)
    again = tiny_game(family, networks)
    images = again.generate(BATCH).images
    last = networks.generator.decoder.last.weight
    likely = (images - reals.images).abs().flatten(1).sum(1).mean()
    judged = torch.nn.functional.softplus(-again.judge(images, None).heads[0]).mean()
    ours, theirs = (torch.autograd.grad(loss, last, retain_graph=True)[0].norm() for loss in (likely, judged))
    assert family.balance.weight.item() == pytest.approx(float(ours / (theirs + 1e-4)), rel=1e-4)


def test_the_discriminator_begins_when_it_is_told_to():
    family = family_of(adversarial_from_images=2 * BATCH)
    trainer = tiny_trainer(family)
    untouched = copy.deepcopy(trainer.networks.discriminator.state_dict())
    balances = []
    for step in range(4):
        trainer.step()
        now = trainer.networks.discriminator.state_dict()
        same = all(torch.equal(now[name], untouched[name]) for name in now)
        assert same == (step < 2)
        balances.append(float(family.balance.weight))
        shown = trainer.meters.flush()
        assert ("loss/adversarial" in shown) == ("loss/discriminator" in shown) == (step >= 2)
    assert balances[:2] == [0, 0]
    assert all(balance > 0 for balance in balances[2:])


def test_a_restart_between_the_first_steps_of_the_discriminator_is_bitwise():
    """The balance of the step before is part of the memory."""
    results = []
    for stops in (False, True):
        trainer = tiny_trainer(family_of(adversarial_from_images=BATCH))
        for _ in range(3):
            trainer.step()
        if stops:
            saved = copy.deepcopy(take(trainer))
            trainer = tiny_trainer(family_of(adversarial_from_images=BATCH))
            put_back(trainer, saved)
            trainer.stream = DigitStream(PLAIN, trainer.progress.images_seen)
        trainer.step()
        results.append(take(trainer))
    for group, tensors in results[0].items():
        for key, value in tensors.items():
            assert torch.equal(results[1][group][key], value), f"{group}: {key}"


def test_the_scale_becomes_one_over_the_deviation_of_latents():
    family = family_of()
    networks, reals = seeded_networks(family), digits()
    game = tiny_game(family, networks)
    terms = family.phases[0].objective(game, reals)
    for _ in range(200):
        family.observe(networks, terms.stats, BATCH)
    latents = moments_of(tiny_game(family, networks).generate(BATCH).latents)
    noise = SampleRandomness(range(BATCH)).normal(*latents.mean.shape[1:])
    deviation = latents.sample(noise).std(correction=0)
    assert networks.generator.scale.item() == pytest.approx(1 / float(deviation.detach()), rel=1e-4)
    before = networks.generator.scale.clone()
    family.observe(networks, {**terms.stats, "latents/mean": torch.tensor(math.nan)}, BATCH)
    assert torch.equal(networks.generator.scale, before)


def test_drawn_latents_have_the_spread_of_the_datas_unless_these_are_standard():
    for weight, factor in ((1e-6, 0.5), (1.0, 1.0)):
        family = family_of(kl_weight=weight)
        autoencoder = seeded_networks(family).generator.eval()
        autoencoder.scale.fill_(2.0)
        sampler = family.sampler(autoencoder)
        z = sampler.latents([5]).z.view(1, 4, 4, 4)
        assert torch.equal(sampler.draw([5]).images, autoencoder.decode(z * factor))


@pytest.mark.parametrize("kind", DEGENERATE)
def test_other_settings_train_too_and_restart_bitwise(kind):
    changes = DEGENERATE[kind]
    straight = tiny_trainer(family_of(**changes))
    assert [phase.name for phase in straight.family.phases] == ["generator"]
    assert not list(straight.networks.discriminator.parameters())
    assert straight.networks.generator.shape.distributions == (kind != "plain")
    straight.step()
    saved = copy.deepcopy(take(straight))
    shown = straight.meters.flush()
    assert ("loss/kl" in shown) == (kind != "plain")
    straight.step()
    resumed = tiny_trainer(family_of(**changes))
    put_back(resumed, saved)
    resumed.stream = DigitStream(PLAIN, BATCH)
    resumed.step()
    for group, tensors in take(straight).items():
        for key, value in tensors.items():
            assert torch.equal(take(resumed)[group][key], value), f"{group}: {key}"
    moved = straight.networks.generator.log_scale != 0
    assert moved == (kind == "gaussian")


def test_with_a_bernoulli_likelihood_images_have_two_values():
    family = family_of(**DEGENERATE["bernoulli"])
    networks, reals = seeded_networks(family), digits()
    game = tiny_game(family, networks)
    shown = game.present(reals).images
    assert torch.equal(shown, torch.where(reals.images > 0, 1.0, -1.0))
    fakes = game.generate(BATCH)
    assert fakes.images.abs().max() < 1
    terms = family.phases[0].objective(tiny_game(family, networks), game.present(reals))
    likely = torch.distributions.Bernoulli((1 + fakes.images) / 2).log_prob((1 + shown) / 2)
    expected = moments_of(fakes.latents).kl() - likely.flatten(1).sum(1)
    torch.testing.assert_close(terms.loss, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["adversarial", "gaussian"])
def test_it_learns_to_reconstruct(kind):
    """Digits that it has not seen, against an autoencoder before its first step."""
    changes = DEGENERATE.get(kind, {"loss": "hinge", "adversarial_from_images": 30 * BATCH})
    trainer = tiny_trainer(family_of(**changes, generator_rate=2e-3))
    unseen = DigitStream(PLAIN, 1600).draw(64)[0].images
    before = psnr(trainer, unseen)
    for _ in range(60):
        trainer.step()
    assert psnr(trainer, unseen) > before + 3


@pytest.fixture(scope="module")
def perceptual() -> PerceptualDistance:
    torch.manual_seed(0)
    network = PerceptualDistance()
    with torch.no_grad():
        for weight in network.weights:
            weight.uniform_()
    return perceptual_from(network.state_dict()).eval().requires_grad_(False)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_what_people_see_is_counted_once_for_each_number(perceptual, channels):
    spec = ImageSpec(16, 16, channels)
    family = tiny_family(NAME, spec, perceptual_weight=0.3, kl_weight=0, discriminator="none")
    assert list(family.needs.fixtures) == ["perceptual"]
    assert not family.needs.sampling
    networks = seeded_networks(family)
    reals = Batch(torch.rand(2, channels, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1)
    family.fixtures = {"perceptual": perceptual}

    def game():
        return family.game(networks, family.schedule.at(0), SampleRandomness(range(2)), reals)

    terms = family.phases[0].objective(game(), reals)
    images = game().generate(2).images
    ours, theirs = (x.repeat(1, 3, 1, 1) if channels == 1 else x[:, :3] for x in (reals.images, images))
    likely = torch.distributions.Laplace(images, 1).log_prob(reals.images).flatten(1).sum(1)
    expected = 0.3 * channels * 256 * perceptual(ours, theirs) - likely
    torch.testing.assert_close(terms.loss, expected, rtol=1e-4, atol=1e-3)
    terms.loss.mean().backward()
    assert networks.generator.encoder.first.weight.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("spec", "changes", "words"),
    [
        (ImageSpec(9, 8, 1), {}, r"images of 9x8 .* 2 levels .*; allowed: multiples of 2"),
        (ImageSpec(8, 8, 3), {"perceptual_weight": 1}, r"perceptual_weight=1.0: .*; allowed: 16 pixels"),
        (ImageSpec(8, 8, 3), {"discriminator_layers": 3}, r"discriminator_layers=3: .*; allowed: 24 pixels"),
    ],
)
def test_images_that_do_not_fit_are_refused(spec, changes, words):
    with pytest.raises(UserError, match=words):
        tiny_family(NAME, spec, **changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"base_channels": 48}, "allowed: multiples of norm_groups=32"),
        ({"channel_multipliers": []}, "allowed: one number a level"),
        ({"likelihood": "bernoulli", "learned_scale": True}, "has no width; allowed: false"),
        ({"loss": "relativistic"}, "allowed: the others"),
    ],
)
def test_settings_that_mean_nothing_are_refused(changes, words):
    with pytest.raises(ValidationError, match=words):
        tiny_config(NAME, **changes)


def test_batches_of_broken_groups_are_refused():
    with pytest.raises(UserError, match=r"family.batch_norm_group: 2 does not divide the 3 images"):
        family_of().check_batch(3)
    family_of(discriminator="none").check_batch(3)
