"""PixelCNN as a family: what its loss is, dropout, rates, likelihoods that people ask for, and learning."""

from __future__ import annotations

import math

import pytest
import torch

from pipeline.contracts import Batch, Evidential, ImageSpec, Reconstructor
from pipeline.errors import UserError
from pipeline.images.pictures import from_uint8
from pipeline.models.pixelcnn.likelihoods import log_cell, numbers_of, value_of
from pipeline.models.pixelcnn.network import log_prob
from pipeline.randomness import SampleRandomness
from tests.tiny_families import BATCH, DIGITS, PLAIN, DigitStream, seeded_networks, tiny_family

KINDS = ("shifted", "masked", "row_lstm")
each_kind = pytest.mark.parametrize("kind", KINDS)


def family_of(kind="shifted", spec=PLAIN, **changes):
    return tiny_family("pixelcnn", spec, network=kind, head_channels=16, **changes)


def digits(spec=PLAIN) -> Batch:
    (reals,) = DigitStream(spec).draw(BATCH)
    return reals


def loss_of(family, networks, reals, samples=range(BATCH)):
    game = family.game(networks, family.schedule.at(0), SampleRandomness(samples), reals)
    return family.phases[0].objective(game, reals)


@each_kind
def test_the_loss_is_the_negative_likelihood_in_bits_per_dimension(kind):
    family = family_of(kind, DIGITS, dropout=0)
    networks, reals = seeded_networks(family), digits(DIGITS)
    terms = loss_of(family, networks, reals)
    nats = log_prob(networks.generator, reals.images, reals.labels)
    torch.testing.assert_close(terms.loss, -nats / (64 * math.log(2)))
    assert terms.stats["loss/bits_per_dim"].item() == pytest.approx(float(terms.loss.detach().mean()))
    other = log_prob(networks.generator, reals.images, (reals.labels + 1) % 10)
    assert not torch.allclose(nats, other)


def test_dropout_is_each_samples_own_and_is_not_in_a_sampler():
    family = family_of(dropout=0.5, scales=2)
    networks, reals = seeded_networks(family), digits()
    whole = loss_of(family, networks, reals).loss
    halves = [
        loss_of(family, networks, Batch(reals.images[part]), range(BATCH)[part]).loss
        for part in (slice(0, BATCH, 2), slice(1, BATCH, 2))
    ]
    torch.testing.assert_close(torch.stack(halves, dim=1).flatten(), whole)
    plain = log_prob(networks.generator, reals.images, None) / (-64 * math.log(2))
    assert not torch.allclose(whole, plain, atol=1e-4)
    assert torch.allclose(loss_of(family_of(dropout=0.0, scales=2), networks, reals).loss, plain)


def test_the_rate_falls_with_each_step():
    family = family_of(generator_rate=0.1, rate_decay=0.9)
    rates = [family.schedule.at(seen).rates["generator"] for seen in (0, BATCH - 1, BATCH, 10 * BATCH)]
    assert rates == pytest.approx([0.1, 0.1, 0.09, 0.1 * 0.9**10])


def test_there_is_one_player():
    networks = seeded_networks(family_of())
    assert not list(networks.discriminator.parameters())
    assert [phase.trains for phase in family_of().phases] == ["generator"]


@each_kind
def test_its_sampler_tells_the_exact_likelihood_of_images_of_a_class(kind):
    family = family_of(kind, DIGITS)
    network, reals = seeded_networks(family).generator.eval(), digits(DIGITS)
    sampler = family.sampler(network)
    assert isinstance(sampler, Evidential)
    assert not isinstance(sampler, Reconstructor)
    assert sampler.values == 256
    many, labels = reals.images.repeat(3, 1, 1, 1), reals.labels.tolist() * 3
    found = sampler.evidence(many, range(24), classes=labels)
    expected = log_prob(network, reals.images, reals.labels)
    torch.testing.assert_close(found, expected.detach().repeat(3), rtol=1e-5, atol=1e-3)
    with pytest.raises(UserError, match=r"classes: .* a likelihood by their class; give one an image"):
        sampler.evidence(many, range(24))
    with pytest.raises(UserError, match="no class 10; allowed: 0 to 9"):
        sampler.evidence(many[:1], [0], classes=[10])
    plain = family_of(kind)
    without = plain.sampler(seeded_networks(plain).generator).evidence(many[:2], [0, 1], classes=[3, 4])
    assert without.shape == (2,)


def test_there_is_nothing_to_truncate():
    family = family_of()
    with pytest.raises(UserError, match=r"truncation=0.5: .* nothing to pull towards; allowed: 1"):
        family.sampler(seeded_networks(family).generator).draw([1], truncation=0.5)


def test_seeds_that_differ_in_high_bits_alone_are_other_images():
    family = family_of("masked", DIGITS)
    drawn = family.sampler(seeded_networks(family).generator).draw([5, 5 + 2**40], classes=[3, 3])
    assert not torch.equal(drawn.images[0], drawn.images[1])
    assert not torch.equal(drawn.latents[0], drawn.latents[1])


CELLS = log_cell(from_uint8(torch.arange(256)).double(), torch.tensor(0.5), torch.tensor(-2.0))
ENTROPY = float(-(CELLS.exp() * CELLS).sum() / math.log(2))
"""Of each pixel of `chains` given those before it, in bits."""


def chains(count: int, seed: int) -> torch.Tensor:
    """Images of 2x4 whose pixels follow a logistic law about 0.5 after a dark one, about -0.5 after a bright
    one."""
    uniform = torch.rand(8, count, generator=torch.Generator().manual_seed(seed))
    found, mean = [], torch.full((count,), 0.5)
    for numbers in uniform:
        found.append(value_of(numbers_of(mean + math.exp(-2) * torch.logit(numbers))))
        mean = -0.5 * found[-1].sign()
    return torch.stack(found, dim=1).view(count, 1, 2, 4)


@each_kind
def test_it_learns_what_is_known_of_the_data_and_no_more(kind):
    """Images that it has not seen take no fewer bits than their entropy, and hardly more."""
    family = family_of(kind, ImageSpec(2, 4, 1), channels=8, dropout=0)
    networks, unseen = seeded_networks(family), chains(1000, seed=10**6)

    def bits() -> float:
        with torch.no_grad():
            return float(-log_prob(networks.generator, unseen, None).mean()) / (8 * math.log(2))

    assert bits() > ENTROPY + 0.8
    adam = torch.optim.Adam(networks.generator.parameters(), 0.02, betas=(0.9, 0.99))
    for step in range(120):
        loss = loss_of(family, networks, Batch(chains(64, step)), range(64)).loss.mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert ENTROPY - 0.05 < bits() < ENTROPY + 0.5
