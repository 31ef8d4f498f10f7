"""DANN: the reversed gradient and the schedule in closed form, labels that are never seen, learning."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from pipeline.contracts import SECOND, Classifier, Conditional, ImageSpec, Needs
from pipeline.errors import UserError
from pipeline.models.dann.network import reversed_gradient
from pipeline.randomness import SampleRandomness
from pipeline.training.state import take
from tests.tiny_families import (
    BATCH,
    DIGITS,
    PLAIN,
    DigitStream,
    seeded_networks,
    tiny_family,
    tiny_game,
    tiny_sampler,
    tiny_trainer,
)


def test_a_reversed_gradient_is_the_negative_one_times_the_weight():
    x = torch.linspace(-1, 1, 5, requires_grad=True)
    for weight in (0.3, torch.tensor(0.3, dtype=torch.float64)):
        y = reversed_gradient(x, weight)
        assert torch.equal(y, x)
        (grad,) = torch.autograd.grad(y.exp().sum(), x)
        torch.testing.assert_close(grad, -0.3 * x.detach().exp())


@pytest.mark.parametrize(
    ("seen", "weight", "factor"),
    [(0, 0.0, 1.0), (500, 2 / (1 + math.exp(-5)) - 1, 6**-0.75), (1000, math.tanh(5), 11**-0.75)],
)
def test_the_schedule_in_closed_form(seen, weight, factor):
    """2 / (1 + exp(-x)) - 1 = tanh(x / 2)."""
    family = tiny_family("dann", adapt_images=1000, adapt_weight=0.5, generator_rate=0.02)
    stage = family.schedule.at(seen)
    assert stage.weights == {"reversal": pytest.approx(0.5 * weight)}
    assert stage.rates["generator"] == pytest.approx(0.02 * factor)


def test_after_the_run_for_which_it_was_planned_nothing_changes():
    schedule = tiny_family("dann", adapt_images=1000).schedule
    assert schedule.at(5000) == schedule.at(1000)


def gradients(weight: float) -> dict[str, torch.Tensor]:
    family = tiny_family("dann", adapt_images=1, adapt_weight=weight)
    networks = seeded_networks(family)
    (reals,) = DigitStream().draw(BATCH)
    game = tiny_game(family, networks, images_seen=1)
    loss = family.phases[0].objective(game, reals).loss.mean()
    named = dict(networks.generator.named_parameters())
    return dict(zip(named, torch.autograd.grad(loss, list(named.values())), strict=True))


def test_features_descend_the_loss_of_classes_and_ascend_that_of_sets_and_each_head_descends_its_own():
    """Equations 11 to 13, from losses computed by other functions."""
    family = tiny_family("dann")
    network = seeded_networks(family).generator
    (reals,) = DigitStream().draw(BATCH)
    first, second = network.features(reals.images), network.features(reals.extra[SECOND])
    of_classes = F.nll_loss(network.label(first).log_softmax(1), reals.labels)
    told, others = network.domain(first).sigmoid(), network.domain(second).sigmoid()
    of_sets = -(1 - told).log().mean() - others.log().mean()
    found, weight = gradients(0.7), 0.7 * math.tanh(5)
    for name, parameter in network.named_parameters():
        descent, ascent = (
            torch.autograd.grad(
                loss, parameter, retain_graph=True, allow_unused=True, materialize_grads=True
            )[0]
            for loss in (of_classes, of_sets)
        )
        share = -weight if name.startswith("features") else 1
        torch.testing.assert_close(found[name], descent + share * ascent, rtol=1e-4, atol=1e-6)


def test_labels_of_the_second_set_change_no_bit():
    family = tiny_family("dann", replace(DIGITS, fields=()))
    assert family.needs == Needs(second=True)  # so that they are not even read
    results = []
    for labels in (None, torch.zeros(BATCH, dtype=torch.int64), torch.arange(BATCH)):
        trainer = tiny_trainer(tiny_family("dann"))
        draw = trainer.stream.draw

        def told(*given, draw=draw, labels=labels, **how):
            more = {} if labels is None else {f"{SECOND}.labels": labels}
            return [replace(batch, extra={**batch.extra, **more}) for batch in draw(*given, **how)]

        trainer.stream.draw = told
        for _ in range(3):
            trainer.step()
        results.append(take(trainer))
    for other in results[1:]:
        for group, tensors in results[0].items():
            assert all(torch.equal(value, other[group][key]) for key, value in tensors.items()), group


def test_its_samples_are_given_images_with_the_classes_that_it_takes_them_for():
    family = tiny_family("dann")
    network, data = seeded_networks(family).generator.eval(), DigitStream()
    sampler = tiny_sampler(family, network)
    assert isinstance(sampler, Classifier)
    assert isinstance(sampler, Conditional)
    reals = data.batch([3, 5, 8])
    drawn = sampler.draw([3, 5, 8 + len(data)])
    assert torch.equal(drawn.images, reals.images)
    assert torch.equal(drawn.labels, sampler.classify(reals.images).argmax(dim=1))
    chosen = sampler.draw([2], classes=[4])
    window = data.batch(range(128, 192)).images
    likeliest = sampler.classify(window).log_softmax(1)[:, 4].argmax()
    assert torch.equal(chosen.images[0], window[likeliest])
    assert chosen.labels.tolist() == [4]
    with pytest.raises(UserError, match=r"truncation=0.5: .* allowed: 1"):
        sampler.draw([1], truncation=0.5)
    with pytest.raises(UserError, match="dann makes images of what it is given"):
        family.sampler(network).draw([1], classes=[4])


@pytest.mark.parametrize(
    ("spec", "changes", "words"),
    [
        (PLAIN, {}, "dann learns classes, and data.path has no labels"),
        (ImageSpec(3, 8, 1, 10), {}, "dann cannot classify images of 3x8 .*allowed: 4 pixels"),
        (DIGITS, {"low_precision": torch.bfloat16}, "engine.precision=bfloat16: .* allowed: float32"),
    ],
)
def test_what_it_cannot_use_is_refused(spec, changes, words):
    with pytest.raises(UserError, match=words):
        tiny_family("dann", spec, **changes)


def test_each_set_is_normalised_by_itself_and_both_move_what_is_remembered():
    family = tiny_family("dann", batch_norm_group=4)
    networks = seeded_networks(family)
    network = networks.generator
    (reals,) = DigitStream().draw(BATCH)
    first, second = reals.images, reals.extra[SECOND]
    found = network.both(first, second, 1.0)
    other = network.both(first, second * 0.1 + 0.5, 1.0)
    assert torch.equal(found[0], other[0])
    assert torch.equal(found[1], other[1])
    assert not torch.equal(found[2], other[2])
    terms = family.phases[0].objective(tiny_game(family, networks), reals)
    family.observe(networks, terms.stats, BATCH)
    convolution, norm = network.features[0], network.features[1]
    together = convolution(torch.cat([first, second]))
    torch.testing.assert_close(norm.running_mean, 0.1 * together.mean((0, 2, 3)), rtol=1e-4, atol=1e-6)
    var = together.var((0, 2, 3), unbiased=False)
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * var, rtol=1e-4, atol=1e-6)


def lightened(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Digits before a smooth background that hides what of them is darker."""
    corners = torch.rand(len(images), 1, 3, 3, generator=generator)
    background = F.interpolate(corners, size=images.shape[2:], mode="bilinear")
    return torch.maximum(images, 1.4 * background - 1)


def adapted(seed: int, **changes) -> tuple[float, float]:
    """Trains on digits and, without their labels, on lightened ones; returns how often the class of unseen
    lightened digits, and in the end the set of either, are told rightly."""
    steps, count, rate = 150, 64, 0.006
    family = tiny_family("dann", channels=[16, 24], width=32, adapt_images=steps * count, **changes)
    networks, data = seeded_networks(family, seed), DigitStream()
    network, generator = networks.generator, torch.Generator().manual_seed(seed)
    adam = torch.optim.Adam(network.parameters(), rate, betas=(0.5, 0.999))
    told = []
    for step in range(steps):
        labelled, others = (
            data.batch(torch.randint(1400, (count,), generator=generator).tolist()) for _ in range(2)
        )
        reals = replace(labelled, extra={SECOND: lightened(others.images, generator)})
        stage, randomness = family.schedule.at(step * count), SampleRandomness(range(count))
        adam.param_groups[0]["lr"] = stage.rates["generator"] / family.config.generator_rate * rate
        terms = family.phases[0].objective(family.game(networks, stage, randomness, reals), reals)
        adam.zero_grad()
        terms.loss.mean().backward()
        adam.step()
        family.observe(networks, terms.stats, count)
        told.append(float(terms.stats["told/set"]))
    unseen = data.batch(range(1400, 1790))
    shown = lightened(unseen.images, torch.Generator().manual_seed(0))
    right = (network.eval()(shown).argmax(dim=1) == unseen.labels).float().mean()
    return float(right), sum(told[-20:]) / 20


def test_it_learns_classes_of_images_whose_labels_it_never_sees():
    """Better than one that never learns from these images; and the sets are no longer told apart."""
    seeds = (1, 2)
    adapting = [adapted(seed, batch_norm_group=64, adapt_weight=0.3) for seed in seeds]
    alone = [adapted(seed, batch_norm_group=0, adapt_weight=0) for seed in seeds]
    (right, told), (right_alone, told_alone) = (torch.tensor(of).mean(dim=0) for of in (adapting, alone))
    assert right > right_alone + 0.04
    assert right_alone > 0.3
    assert told < 0.75
    assert told_alone > 0.85
