"""Pseudo augmentation: which reals are replaced, by what, and what the objective then sees."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from pipeline.config.families import ApaConfig, FewImages, Objectives
from pipeline.contracts import Batch, Terms
from pipeline.losses import WithPseudoReals, ZeroCentred
from pipeline.models.phases import LossMemory, discriminator_phases
from pipeline.randomness import SampleRandomness
from tests.losses.plays import SHAPE, N, QuadraticGame, make_game, make_reals


class Configured(FewImages, Objectives):
    pass


class Memory(nn.Module):
    def __init__(self, p: float) -> None:
        super().__init__()
        self.register_buffer("p", torch.tensor(p))


class Seen:
    """An objective that notes its reals."""

    def __call__(self, game, reals) -> Terms:
        self.reals = reals
        return Terms(reals.images.flatten(1).sum(dim=1))


class ManyGame(QuadraticGame):
    count = 3000

    @property
    def randomness(self) -> SampleRandomness:
        return SampleRandomness(range(self.count))


def shown(p: float, reals: Batch, game: QuadraticGame) -> Batch:
    seen = Seen()
    WithPseudoReals(seen, Memory(p))(game, reals)
    return seen.reals


@pytest.fixture
def game():
    return make_game()


@pytest.fixture
def reals():
    return make_reals()


def test_at_p_0_the_reals_and_at_p_1_fakes_of_their_labels(game, reals):
    assert torch.equal(shown(0.0, reals, game).images, reals.images)
    fakes = game.generate(N, reals.labels)
    pseudo = shown(1.0, reals, game)
    assert torch.equal(pseudo.images, fakes.images)
    assert torch.equal(pseudo.labels, reals.labels)
    assert not pseudo.images.requires_grad  # nothing of it reaches the generator


def test_each_is_replaced_for_itself_with_probability_p(game):
    many = ManyGame.count
    draws = torch.randn(many, *SHAPE, dtype=torch.float64)
    game = ManyGame(game.networks)
    mixed = shown(0.3, Batch(draws), game).images
    kept = (mixed == draws).flatten(1).all(dim=1)
    fake = (mixed == game.generate(many).images).flatten(1).all(dim=1)
    assert (kept ^ fake).all()  # whole images
    assert stats.binomtest(int(fake.sum()), many, 0.3).pvalue > 1e-5


def test_r1_is_that_of_the_mixture(game, reals):
    mixed = shown(0.5, reals, game).images
    assert not torch.equal(mixed, reals.images)
    squares = (game.networks.discriminator.slopes(mixed) ** 2).sum(axis=1)
    terms = WithPseudoReals(ZeroCentred(3.0), Memory(0.5))(game, reals)
    np.testing.assert_allclose(terms.loss.detach().numpy(), 1.5 * squares, rtol=1e-6)


def test_the_discriminators_turns_have_them_and_none_on_fakes_alone(game, reals):
    apa = ApaConfig(mode="fixed", p=1.0)
    config = Configured(
        apa=apa, r1_gamma=1.0, r1_every=2, r2_gamma=1.0, r2_every=2, gp_weight=1.0, gp_every=3
    )
    memory = LossMemory(config)
    phases = {phase.name: phase.objective for phase in discriminator_phases(config, memory)}
    wrapped = {name for name, objective in phases.items() if isinstance(objective, WithPseudoReals)}
    assert phases.keys() - wrapped == {"r2"}
    assert wrapped == {"discriminator", "r1", "gradient_penalty"}
    terms = phases["discriminator"](game, reals)
    # Both sides are fakes, here the same ones, as the streams of this game begin anew.
    assert terms.stats["logits/real"] == terms.stats["logits/fake"]
    off = Configured(r1_gamma=1.0)
    assert not any(
        isinstance(phase.objective, WithPseudoReals) for phase in discriminator_phases(off, LossMemory(off))
    )


def test_p_follows_the_sign_of_what_the_discriminator_took_for_reals():
    memory = LossMemory(Configured(apa=ApaConfig(mode="adaptive", p=0.2, adjust_images=1000, every=2)))
    for _ in range(2):
        memory.observe({"signs/real": torch.tensor(0.9)}, 50)
    assert float(memory.figures()["state/apa_p"]) == pytest.approx(0.3)
    memory.observe({}, 50)  # a step of the generator alone
    for _ in range(2):
        memory.observe({"signs/real": torch.tensor(0.1)}, 100)
    assert float(memory.figures()["state/apa_p"]) == pytest.approx(0.1)
    assert {"apa.p", "apa.sign_sum", "apa.images", "apa.steps"} == memory.state_dict().keys()
    fixed = LossMemory(Configured(apa=ApaConfig(mode="fixed", p=0.2)))
    for _ in range(8):
        fixed.observe({"signs/real": torch.tensor(0.9)}, 500)
    assert float(fixed.figures()["state/apa_p"]) == pytest.approx(0.2)
    assert LossMemory(Configured()).figures() == {}
