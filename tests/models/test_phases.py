"""From a config's objectives to phases: the same gradients in one turn or in several, and the factors."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch
from torch import Tensor, nn

from pipeline.config.families import Objectives, Optimisation
from pipeline.contracts import Phase
from pipeline.errors import UserError
from pipeline.models.phases import (
    LossMemory,
    adam_rules,
    discriminator_phases,
    generator_phase,
    lazy_factors,
)
from pipeline.models.schedule import ConstantSchedule
from tests.losses.plays import make_game, make_reals

PENALTIES = {"r1": ("r1_gamma", 3.0), "r2": ("r2_gamma", 0.7), "gradient_penalty": ("gp_weight", 10.0)}
EVERY = {"r1": "r1_every", "r2": "r2_every", "gradient_penalty": "gp_every"}


class Both(Objectives, Optimisation):
    pass


def phases(classes: int = 0, **objectives) -> list[Phase]:
    config = Objectives(**objectives)
    return discriminator_phases(config, LossMemory(config), classes=classes)


def gradients(found: Iterable[Phase]) -> dict[str, Tensor]:
    """The discriminator's, each phase's taken once at its own strength."""
    game, reals = make_game(), make_reals()
    network = game.networks.discriminator
    for phase in found:
        (phase.objective(game, reals).loss.mean() * (phase.gain / phase.every)).backward()
    return {name: torch.zeros(()) if p.grad is None else p.grad for name, p in network.named_parameters()}


@pytest.mark.parametrize("chosen", [["r1"], ["r2"], ["gradient_penalty"], sorted(PENALTIES)], ids="-".join)
def test_penalties_within_the_turn_or_in_turns_of_their_own_have_the_same_gradients(chosen):
    weights = dict(PENALTIES[name] for name in chosen)
    together = phases(loss="non_saturating", drift_weight=0.1, **weights)
    assert [phase.name for phase in together] == ["discriminator"]
    intervals = {EVERY[name]: 4 + place for place, name in enumerate(chosen)}
    apart = phases(loss="non_saturating", drift_weight=0.1, **weights, **intervals)
    assert [phase.name for phase in apart] == ["discriminator", *(n for n in PENALTIES if n in chosen)]
    for phase in apart[1:]:
        assert phase.every == phase.gain == intervals[EVERY[phase.name]]
        assert phase.trains == "discriminator"
    ours, theirs, without = gradients(together), gradients(apart), gradients(apart[:1])
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient)
    assert not torch.allclose(ours["slope"], without["slope"])


@pytest.mark.parametrize(
    ("objectives", "own", "expected"),
    [
        ({}, (), 1.0),
        ({"r1_gamma": 1.0}, (), 1.0),  # within the turn
        ({"r1_gamma": 1.0, "r1_every": 16}, (), 16 / 17),
        ({"r1_gamma": 0.0, "r1_every": 16}, (), 1.0),  # off
        ({"r1_gamma": 1.0, "r1_every": 16, "r2_gamma": 1.0, "r2_every": 4}, (), 16 / 21),
        ({"gp_weight": 1.0, "gp_every": 2, "discriminator_repeats": 5}, (), 10 / 11),
        ({"r1_gamma": 1.0, "r1_every": 2}, (8,), 8 / 13),
    ],
)
def test_lazy_factors_are_main_updates_over_all_updates(objectives, own, expected):
    """Counted over a run of 80 steps."""
    config = Objectives(**objectives)
    factor = lazy_factors(config, {"discriminator": own})["discriminator"]
    assert factor == pytest.approx(expected)
    steps = 80
    found = phases(**objectives)
    updates = {phase.name: len(range(0, steps, phase.every)) * phase.repeats for phase in found}
    extra = sum(steps // every for every in own)
    assert factor == pytest.approx(updates["discriminator"] / (sum(updates.values()) + extra))
    assert lazy_factors(config)["generator"] == 1.0


def test_the_factors_go_into_rates_and_betas():
    config = Both(r1_gamma=1.0, r1_every=16, generator_rate=0.1, discriminator_rate=0.2, adam_beta1=0.5)
    c = 16 / 17
    rules = adam_rules(config, config)
    assert rules["generator"].beta1 == 0.5
    assert rules["discriminator"].beta1 == pytest.approx(0.5**c)
    assert rules["discriminator"].beta2 == pytest.approx(0.99**c)
    stage = ConstantSchedule(config, 8, 4, 4, lazy_factors(config)).at(0)
    assert stage.rates == pytest.approx({"generator": 0.1, "discriminator": 0.2 * c})


def test_repeats_belong_to_the_discriminators_turn_and_clipping_to_each_of_its_updates():
    found = phases(discriminator_repeats=5, weight_clip=0.01, gp_weight=1.0, gp_every=3)
    assert [(phase.name, phase.repeats) for phase in found] == [("discriminator", 5), ("gradient_penalty", 1)]
    for phase in found:
        layer = nn.Linear(3, 3)
        assert phase.settle is not None
        phase.settle(layer)
        assert max(float(p.detach().abs().max()) for p in layer.parameters()) <= 0.01 + 1e-9
    generator = generator_phase(Objectives(discriminator_repeats=5, weight_clip=0.01))
    assert (generator.repeats, generator.settle, generator.trains) == (1, None, "generator")


@pytest.mark.parametrize("classes", [0, 3])
def test_the_classifier_comes_with_labels_alone(classes):
    chosen = {"conditioning": "classifier", "classifier_weight": 0.5}
    game, reals = make_game(), make_reals()
    (with_it,) = phases(classes, **chosen)
    (without,) = phases(classes, conditioning="projection")
    turns = [(with_it, without)]
    turns.append(
        (
            generator_phase(Objectives(**chosen), classes=classes),
            generator_phase(Objectives(), classes=classes),
        )
    )
    for ours, plain in turns:
        more = ours.objective(game, reals).loss - plain.objective(game, reals).loss
        assert bool((more > 0).all()) == bool(classes)
        assert bool((more == 0).all()) == (not classes)


def test_an_orthogonal_term_is_refused_where_a_family_has_none():
    with pytest.raises(UserError, match=r"family\.orthogonal_weight=0\.1: .*allowed: 0"):
        generator_phase(Objectives(orthogonal_weight=0.1))
    weight = torch.tensor([[3.0, 4.0], [1.0, 2.0]], dtype=torch.float64)
    game, reals = make_game(), make_reals()
    phase = generator_phase(Objectives(orthogonal_weight=0.1), orthogonal=lambda network: [weight])
    more = phase.objective(game, reals).loss - generator_phase(Objectives()).objective(game, reals).loss
    torch.testing.assert_close(more, torch.full_like(more, 0.1 * 2 * 11**2))  # 3 * 1 + 4 * 2, twice


def test_lecam_has_memory_only_where_it_is_on():
    assert LossMemory(Objectives()).state_dict() == {}
    assert len(LossMemory(Objectives(lecam_weight=0.1)).state_dict()) == 2
