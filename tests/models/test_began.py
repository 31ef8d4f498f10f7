"""BEGAN's networks, losses, balance and schedule, against the paper's formulas written another way."""

from __future__ import annotations

import copy
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from pipeline.contracts import Batch, ImageSpec
from pipeline.errors import UserError
from pipeline.evaluation.compared import Walkable
from pipeline.evaluation.metrics.registry import METRICS
from pipeline.models.began import Equilibrium
from pipeline.models.began.game import CARRY
from pipeline.randomness import SampleRandomness
from tests.models.test_every_family import stir
from tests.tiny_families import (
    BATCH,
    PLAIN,
    DigitStream,
    seeded_networks,
    sliced_distance,
    tiny_config,
    tiny_family,
    tiny_game,
    tiny_trainer,
)

LATE = 10**9
COLOURS = ImageSpec(16, 16, 3)


def digits() -> Batch:
    return DigitStream(PLAIN).draw(BATCH)[0]


def numbers(x: torch.Tensor) -> np.ndarray:
    return x.detach().double().numpy()


def error(images: torch.Tensor, networks, carry=None) -> np.ndarray:
    """L of each image (eq. 1), by numpy."""
    again = networks.discriminator.reconstruct(images, carry=carry)
    return np.abs(numbers(images) - numbers(again)).reshape(len(images), -1).mean(1)


def observed(equilibrium: Equilibrium, reals: float, fakes: float) -> None:
    equilibrium.observe({"loss/reconstruction": torch.tensor(reals), "loss/generator": torch.tensor(fakes)})


def layers(weights, name: str, x: torch.Tensor, carry: float) -> torch.Tensor:
    """The convolutions of one resolution, as section 3.5.1 has them."""
    for i in range(sum(key.startswith(f"{name}.") and key.endswith(".weight") for key in weights)):
        out = F.elu(F.conv2d(x, weights[f"{name}.{i}.weight"], weights[f"{name}.{i}.bias"], padding=1))
        x = carry * x + (1 - carry) * out if x.shape == out.shape else out
    return x


def decoded(weights, code: torch.Tensor, carry: float, doublings: int, *, skips: bool) -> torch.Tensor:
    begun = (code @ weights["project.weight"].T + weights["project.bias"]).unflatten(1, (-1, 4, 4))
    x = layers(weights, "first", begun, carry)
    for level in range(doublings):
        x = torch.kron(x, torch.ones(2, 2))
        if skips:
            x = torch.cat([x, torch.kron(begun, torch.ones(2 << level, 2 << level))], dim=1)
        x = layers(weights, f"levels.{level}.convs", x, carry)
    return F.conv2d(x, weights["last.weight"], weights["last.bias"], padding=1)


@pytest.mark.parametrize(("carry", "skips"), [(None, True), (0.3, True), (0.3, False), (1.0, True)])
@torch.no_grad()
def test_networks_are_those_of_figure_1(carry, skips):
    networks = seeded_networks(tiny_family("began", COLOURS, skips=skips))
    stir(networks)
    weight, z = carry or 0.0, torch.rand(2, 12) * 2 - 1
    weights = networks.generator.decoder.state_dict()
    torch.testing.assert_close(
        networks.generator(z, carry=carry), decoded(weights, z, weight, 2, skips=skips)
    )
    encoder, images = networks.discriminator.encoder, torch.rand(2, 3, 16, 16)
    weights = encoder.state_dict()
    x = F.elu(F.conv2d(images, weights["first.weight"], weights["first.bias"], padding=1))
    for level in range(2):
        x = layers(weights, f"levels.{level}.convs", x, weight)
        halving = [weights[f"levels.{level}.halve.{key}"] for key in ("weight", "bias")]
        x = F.elu(F.conv2d(x, *halving, stride=2, padding=1))
        assert x.shape[1] == 8 * (level + 2)  # n, 2n, 3n
    x = layers(weights, "last", x, weight).flatten(1)
    h = x @ weights["embed.weight"].T + weights["embed.bias"]
    torch.testing.assert_close(encoder(images, carry), h, rtol=1e-4, atol=1e-5)
    again = networks.discriminator.reconstruct(images, carry=carry)
    ours = decoded(networks.discriminator.decoder.state_dict(), h, weight, 2, skips=skips)
    torch.testing.assert_close(again, ours, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seen", [0, 10, LATE])
def test_losses_are_errors_of_reconstruction(seen):
    family = tiny_family("began", PLAIN)
    networks, reals = seeded_networks(family), digits()
    stir(networks)
    family.equilibrium.k.fill_(0.3)
    carry = family.schedule.at(seen).weights.get(CARRY)
    generator, discriminator = (phase.objective for phase in family.phases)

    def game():
        return tiny_game(family, networks, images_seen=seen)

    fakes = game().generate(BATCH).images
    real, fake = error(reals.images, networks, carry), error(fakes, networks, carry)
    np.testing.assert_allclose(numbers(game().judge(reals.images, None).logits), -real, rtol=1e-4)
    terms = generator(game(), reals)
    np.testing.assert_allclose(numbers(terms.loss), fake, rtol=1e-4)
    assert terms.stats["loss/generator"].item() == pytest.approx(fake.mean(), rel=1e-4)
    terms = discriminator(game(), reals)
    np.testing.assert_allclose(numbers(terms.loss), real - 0.3 * fake, rtol=1e-4)
    assert terms.stats["loss/reconstruction"].item() == pytest.approx(real.mean(), rel=1e-4)
    assert terms.loss.requires_grad
    terms.loss.mean().backward()
    assert all(p.grad is None for p in networks.generator.parameters())


def test_k_and_the_measure_follow_the_formulas():
    """By hand over steps that drive k to both bounds; the measure first as a mean, then a running mean."""
    ours, gamma, rate = Equilibrium(0.6, 0.3), 0.6, 0.3
    draws = np.random.default_rng(1)
    k, mean, bounds = 0.0, 0.0, set()
    for step in range(300):
        reals = float(np.float32(draws.uniform(0.1, 2)))
        low, high = (0.0, 0.3) if step % 40 < 20 else (0.5, 2.0)
        fakes = float(np.float32(draws.uniform(low, high)))
        observed(ours, reals, fakes)
        k = min(max(k + rate * (gamma * reals - fakes), 0.0), 1.0)
        measure = reals + abs(gamma * reals - fakes)
        mean += (measure - mean) * max(1 / (step + 1), 0.01)
        assert ours.k.item() == pytest.approx(k, abs=1e-5)
        assert ours.measure.item() == pytest.approx(mean, rel=1e-4)
        bounds.add(k)
    assert {0.0, 1.0} < bounds


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_a_step_that_is_not_finite_changes_nothing(bad, side):
    ours = Equilibrium(0.5, 0.1)
    observed(ours, 1.0, 0.1)
    before = copy.deepcopy(ours.state_dict())
    observed(ours, *((bad, 0.1) if side == 0 else (1.0, bad)))
    for name, value in ours.state_dict().items():
        assert torch.equal(value, before[name]), name
    observed(ours, 1.0, 0.1)
    assert ours.k > before["k"]


@pytest.mark.parametrize("gamma", [0.3, 0.5, 0.7])
def test_k_settles_where_errors_have_the_asked_for_ratio(gamma):
    """Of a discriminator whose error of fakes grows with the weight that they have in its loss."""
    ours = Equilibrium(gamma, 0.02)
    for _ in range(2000):
        observed(ours, 0.4, 0.4 * (0.1 + 0.8 * float(ours.k)))
    assert 0.1 + 0.8 * ours.k.item() == pytest.approx(gamma, abs=1e-3)
    assert ours.measure.item() == pytest.approx(0.4, abs=1e-3)  # the measure's second part is gone


def test_k_is_the_same_for_any_split_of_a_batch():
    """A measure of micro-batches, averaged, would be larger where their imbalances differ in sign."""
    found = []
    for micro in (None, 4, 1):
        trainer = tiny_trainer(tiny_family("began", PLAIN), micro=micro)
        for _ in range(3):
            trainer.step()
        found.append(trainer.family.memory.state_dict())
    assert found[0]["steps"] == 3
    for other in found[1:]:
        for name, value in found[0].items():
            torch.testing.assert_close(other[name], value, rtol=1e-4, atol=1e-6)


def test_k_moves_after_both_updates_and_is_shown():
    trainer = tiny_trainer(tiny_family("began", PLAIN))
    trainer.step()
    stats, family = trainer.meters.flush(), trainer.family
    reals, fakes = stats["loss/reconstruction"], stats["loss/generator"]
    assert stats["loss/discriminator"] == pytest.approx(reals)  # with the k of before, 0
    k = min(max(0.5 * (0.5 * reals - fakes), 0.0), 1.0)
    shown = {name: value.item() for name, value in family.figures().items()}
    assert shown == pytest.approx(
        {"state/balance": k, "state/convergence": reals + abs(0.5 * reals - fakes)}, rel=1e-4
    )
    assert k > 0


def test_a_snapshots_generator_brings_the_measure_along():
    trainer = tiny_trainer(tiny_family("began", PLAIN))
    metric = METRICS["convergence"]
    for _ in range(2):
        trainer.step()
    family, average = trainer.family, trainer.averager.average
    weights = average.state_dict()
    other = seeded_networks(family).generator
    other.load_state_dict(weights)
    measured: Any = SimpleNamespace(walkable=Walkable(family.sampler(other), 0, None))
    assert metric.figure(measured) == {"value": family.figures()["state/convergence"].item()}
    assert family.figures()["state/convergence"] > 0
    measured.walkable = Walkable(family.sampler(seeded_networks(family).generator), 0, None)
    assert metric.figure(measured) == {}
    without = tiny_family("dcgan")
    refusal = metric.refusal(without.sampler(seeded_networks(without).generator))
    assert refusal == "this family measures no convergence of its own; leave it out"


def test_z_is_uniform_and_truncation_narrows_it():
    family = tiny_family("began", PLAIN)
    networks = seeded_networks(family)
    game = family.game(networks, family.schedule.at(LATE), SampleRandomness(range(2000)))
    sampler = family.sampler(networks.generator)
    for z, most in (
        (game.generate(2000).latents, 1.0),
        (sampler.latents(range(2000)).z, 1.0),
        (sampler.latents(range(2000), truncation=0.5).z, 0.5),
    ):
        quantiles = torch.quantile(z.flatten() / most, torch.linspace(0, 1, 9))
        torch.testing.assert_close(quantiles, torch.linspace(-1, 1, 9), rtol=0, atol=0.03)
    first, second = sampler.draw([1, 2], truncation=0.0).images
    assert torch.equal(first, second)


def test_residuals_vanish_and_samples_are_of_their_stage():
    family = tiny_family("began", PLAIN, residual_images=100)
    weights = [family.schedule.at(seen).weights for seen in (0, 25, 99, 100, LATE)]
    assert [stage.get(CARRY) for stage in weights] == pytest.approx([1.0, 0.75, 0.01, None, None])
    assert CARRY not in tiny_family("began", residual_images=0).schedule.at(0).weights
    generator = seeded_networks(family).generator.eval()
    at_start, grown = (family.sampler(generator, stage) for stage in (family.schedule.at(25), None))
    z = at_start.latents([5]).z
    assert torch.equal(at_start.draw([5]).images, generator(z, carry=0.75))
    assert torch.equal(grown.draw([5]).images, generator(z))
    assert not torch.equal(at_start.draw([5]).images, grown.draw([5]).images)


@pytest.mark.parametrize(
    ("changes", "seen", "rates"),
    [
        ({}, 999, (1e-4, 4e-4)),
        ({}, 1000, (5e-5, 2e-4)),
        ({}, 2000, (3e-5, 1e-4)),
        ({}, LATE, (3e-5, 3e-5)),
        ({"halve_images": None}, LATE, (1e-4, 4e-4)),
        ({"rate_floor": 2e-4}, LATE, (1e-4, 2e-4)),
        ({"rate_floor": 0.0}, 10_000, (1e-4 / 1024, 4e-4 / 1024)),
    ],
)
def test_rates_are_halved_down_to_a_floor(changes, seen, rates):
    settings = {"halve_images": 1000, "rate_floor": 3e-5, "discriminator_rate": 4e-4, **changes}
    stage = tiny_family("began", **settings).schedule.at(seen)
    assert (stage.rates["generator"], stage.rates["discriminator"]) == pytest.approx(rates)


def test_labels_change_nothing():
    family = tiny_family("began")
    assert family.spec.classes == 0
    networks, reals = seeded_networks(family), digits()
    labels = torch.arange(BATCH)
    first, second = (tiny_game(family, networks).generate(BATCH, given) for given in (labels, labels + 1))
    assert torch.equal(first.images, second.images)
    verdicts = [tiny_game(family, networks).judge(reals.images, given) for given in (labels, None)]
    assert torch.equal(verdicts[0].logits, verdicts[1].logits)


def test_weights_that_have_learnt_without_residuals_get_none():
    config = tiny_config("began", ema_ramp=0.1).transferred()
    assert (config.residual_images, config.ema_ramp) == (0, None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"layers": 1}, r"residual_images=40: with skips=true and layers=1 .*; allowed: 0, layers of 2"),
        ({"gamma": 0}, "greater than 0"),
        ({"gamma": 1.5}, "less than or equal to 1"),
        ({"balance_rate": -0.1}, "greater than or equal to 0"),
        ({"start": 1}, "greater than or equal to 2"),
        ({"halve_images": 0}, "halve_images"),
        ({"r1_gamma": 1.0}, "Extra inputs are not permitted"),
        ({"loss": "hinge"}, "Extra inputs are not permitted"),
    ],
)
def test_settings_that_mean_nothing_are_refused(changes, words):
    with pytest.raises(ValidationError, match=words):
        tiny_config("began", **changes)


@pytest.mark.parametrize(
    ("size", "start", "begins"),
    [((128, 128), 8, (8, 8)), ((24, 16), 8, (12, 8)), ((12, 12), 8, (12, 12)), ((32, 32), 4, (4, 4))],
)
def test_decoders_begin_with_the_pixels_that_are_asked_for(size, start, begins):
    assert tiny_family("began", ImageSpec(*size, 1), start=start).shape.sides.start == begins


def test_sides_that_cannot_be_halved_to_them_are_refused_in_a_line():
    with pytest.raises(
        UserError, match=r"began cannot make images of 4x4 .*family\.start=8; allowed: sides of 8 to 15 pix"
    ):
        tiny_family("began", ImageSpec(4, 4, 1), start=8)


@pytest.mark.slow
def test_it_learns_in_balance():
    """Samples come nearer to digits than untrained ones, the measure falls, and errors have the asked-for
    ratio."""
    rates = {"generator_rate": 2e-3, "discriminator_rate": 2e-3, "halve_images": None}
    family = tiny_family("began", PLAIN, balance_rate=0.05, gamma=0.7, **rates)
    trainer = tiny_trainer(family)
    reals = trainer.stream.images[:400]

    def distance() -> float:
        return sliced_distance(family.sampler(trainer.averager.average).draw(range(400)).images, reals)

    control = distance()
    for _ in range(20):
        trainer.step()
    early = family.equilibrium.measure.item()
    for _ in range(580):
        trainer.step()
    trainer.meters.flush()
    for _ in range(200):
        trainer.step()
    late = trainer.meters.flush()
    assert distance() < 0.85 * control
    assert family.equilibrium.measure < 0.4 * early
    assert 0 < family.equilibrium.k < 1
    assert late["loss/generator"] / late["loss/reconstruction"] == pytest.approx(0.7, abs=0.05)
