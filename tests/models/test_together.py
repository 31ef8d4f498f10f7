"""Fakes and reals judged in one pass are judged as they are alone."""

from __future__ import annotations

import pytest
import torch

import ops
from pipeline.contracts import Batch, Verdict
from pipeline.models.together import judge_together
from tests.models.test_every_family import joined
from tests.tiny_families import (
    ALONE,
    BATCH,
    DIGITS,
    PLAIN,
    TINY,
    DigitStream,
    seeded_networks,
    tiny_family,
    tiny_game,
)

ONE_PASS = {
    "textgan",
    "autoencoder",
    "began",
    "cyclegan",
    "inpainting",
    "pix2pix",
    "sg2im",
    "progan",
    "stylegan2",
    "stylegan3",
    "r3gan",
    "mlp",
}
ADA = {"ada": {"mode": "fixed", "p": 0.7, "kinds": ["blit", "color", "noise"]}}


def played(name, spec, **changes):
    family = tiny_family(name, spec, **changes)
    networks = seeded_networks(family)
    return networks, lambda: tiny_game(family, networks)


def passes(network) -> list[int]:
    """Filled with the images of each of its passes."""
    seen: list[int] = []
    network.register_forward_pre_hook(lambda module, inputs: seen.append(len(joined(inputs[0]))))
    return seen


JUDGED = [name for name in TINY if name not in ALONE]
CASES = [*((name, spec, {}) for name in JUDGED for spec in (DIGITS, PLAIN)), ("stylegan2", DIGITS, ADA)]


@pytest.mark.parametrize(("name", "spec", "changes"), CASES)
def test_each_is_judged_as_it_would_be_alone(name, spec, changes):
    networks, game = played(name, spec, **changes)
    networks.discriminator.double().eval()  # so that power iteration and running statistics stand still
    (reals,) = DigitStream(spec).draw(BATCH, resolution=game().stage.resolution)
    reals = Batch(reals.images.double(), reals.labels)
    both, apart = game(), game()
    fakes = both.generate(BATCH, reals.labels)
    fakes = type(fakes)(fakes.images.detach().double(), fakes.labels, fakes.latents)
    apart.generate(BATCH, reals.labels)  # the same random numbers are gone
    got = both.judge_both(fakes, reals)
    expected = apart.judge(fakes.images, fakes.labels), apart.judge(reals.images, reals.labels)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a.logits, b.logits, rtol=1e-5, atol=1e-6)
        assert (a.classes is None) == (b.classes is None)
        if a.classes is not None:
            torch.testing.assert_close(a.classes, b.classes, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", JUDGED)
def test_one_pass_where_nothing_but_rounding_changes(name):
    networks, game = played(name, DIGITS)
    (reals,) = DigitStream(DIGITS).draw(BATCH, resolution=game().stage.resolution)
    playing = game()
    fakes, seen = playing.generate(BATCH, reals.labels), passes(networks.discriminator)
    playing.judge_both(fakes, reals)
    assert seen == ([2 * BATCH] if name in ONE_PASS else [BATCH, BATCH])


@pytest.mark.parametrize("rows", [1, 2, 4, 8])
def test_groups_of_a_batch_statistic_are_not_mixed(rows):
    def judge(images, labels):
        mapped = ops.minibatch_stddev(images, rows)
        return Verdict(mapped[:, -1].mean(dim=[1, 2]), labels[:, None] * torch.ones(3))

    draws = torch.Generator().manual_seed(5)
    fakes = torch.randn(8, 2, 4, 4, generator=draws), torch.arange(8.0)
    reals = 3 * torch.randn(8, 2, 4, 4, generator=draws), torch.arange(8.0) + 8
    for got, shown in zip(judge_together(judge, fakes, reals, rows), (fakes, reals), strict=True):
        alone = judge(*shown)
        torch.testing.assert_close(got.logits, alone.logits)
        assert torch.equal(got.classes, alone.classes)
    if rows > 1:
        mixed, _ = judge_together(judge, fakes, reals, 1)
        assert not torch.allclose(mixed.logits, judge(*fakes).logits)


@pytest.mark.parametrize(
    ("penalties", "judged"),
    [
        ({"r1_gamma": 1.0, "r2_gamma": 1.0}, [2 * BATCH]),
        ({"r1_gamma": 1.0}, [BATCH, BATCH]),
        ({"r2_gamma": 1.0}, [BATCH, BATCH]),
        ({}, [2 * BATCH]),
    ],
)
def test_penalties_on_both_sides_share_a_pass_and_those_on_one_do_not(penalties, judged):
    """A gradient with respect to one side's images would pass through the other's as well."""
    family = tiny_family("mlp", PLAIN, gp_weight=0.0, **penalties)
    networks = seeded_networks(family)
    (reals,) = DigitStream(PLAIN).draw(BATCH)
    (turn,) = (phase.objective for phase in family.phases if phase.name == "discriminator")
    seen = passes(networks.discriminator)
    terms = turn(tiny_game(family, networks), reals)
    assert seen == judged
    terms.loss.mean().backward()
    assert all(p.grad is not None for p in networks.discriminator.parameters())


def test_a_shared_pass_gives_each_penalty_its_own_sides_gradient():
    family = tiny_family("r3gan", DIGITS, r1_gamma=3.0, r1_gamma_end=3.0, r2_gamma=0.0, r2_gamma_end=0.0)
    both = tiny_family("r3gan", DIGITS, r1_gamma=3.0, r1_gamma_end=3.0, r2_gamma=2.0, r2_gamma_end=2.0)
    networks = seeded_networks(family)
    (reals,) = DigitStream(DIGITS).draw(BATCH)

    def stats(family):
        (turn,) = (phase.objective for phase in family.phases if phase.name == "discriminator")
        return turn(tiny_game(family, networks), reals).stats

    one, two = stats(family), stats(both)
    torch.testing.assert_close(two["penalty/r1"], one["penalty/r1"])
    assert two["penalty/r2"] > 0
