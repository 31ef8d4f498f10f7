"""R1 and R2 by finite differences for every family: what they are, and what turns may do that take no second
derivatives."""

from __future__ import annotations

import copy

import pytest
import torch

from pipeline.contracts import Batch, Family
from pipeline.losses import FiniteDifferences, generate_detached
from pipeline.models.layers import compile_main_phases, recompute_blocks
from pipeline.models.registry import FAMILIES
from pipeline.randomness import SampleRandomness
from pipeline.training.state import take
from tests.models.test_every_family import stir
from tests.models.test_replayed import AUGMENTED, each_case, played, seen_by
from tests.tiny_families import (
    BATCH,
    DIGITS,
    PLAIN,
    DigitStream,
    seeded_networks,
    tiny_config,
    tiny_family,
    tiny_game,
    tiny_trainer,
)
from tests.training.test_nothing_waits import Held, unasked
from tests.training.test_turns import assert_same, pair
from tests.training.traced import Seen

PENALTIES = {"penalty_method": "finite_difference", "r1_gamma": 0.5, "r2_gamma": 0.5, "gp_weight": 0.0}
TURN = {**PENALTIES, "r1_every": 1, "r2_every": 1}
LAZY = {**PENALTIES, "r1_every": 2, "r2_every": 2}
each_family = pytest.mark.parametrize(
    "name", [name for name in sorted(FAMILIES) if hasattr(tiny_config(name), "penalty_method")]
)


def along(logits, leaves, directions):
    """The derivative of each logit along the directions of all leaves, [N]."""
    ones = torch.ones_like(logits, requires_grad=True)
    gradients = torch.autograd.grad(logits, leaves, ones, create_graph=True)
    product = sum((g * e).sum() for g, e in zip(gradients, directions, strict=True))
    return torch.autograd.grad(product, ones)[0]


@each_case
@pytest.mark.parametrize("side", ["reals", "fakes"])
def test_it_is_the_square_of_the_slope_along_the_direction(case, side):
    """Through the same augmentation, for power iteration and groups that move as a whole; of all levels."""
    networks, games, reals = played(case)
    stir(networks)  # and no sum is 0, where a leaky ReLU has no slope
    reals = Batch(reals.images + 0.1 * torch.randn(reals.images.shape))
    before = copy.deepcopy(networks.discriminator.state_dict())
    squares = FiniteDifferences(3e-4).of(games(), reals, side)
    after = copy.deepcopy(networks.discriminator.state_dict())
    networks.discriminator.load_state_dict(before)
    game = games()
    samples = generate_detached(game, reals) if side == "fakes" else reals
    moved = [each.detach().requires_grad_() for each in getattr(samples, "seen", (reals.images,))]
    judge = game.draw_judge(BATCH)
    directions = [game.randomness.normal(*each.shape[1:]) for each in moved]
    seen = moved if side == "fakes" else seen_by(game, *moved)
    verdict = judge(seen, samples.labels, exact=True)
    logits = sum(head.flatten(1).sum(1) if head.ndim > 1 else head for head in verdict.heads)
    expected = along(logits, moved, directions).square()
    near = (squares - expected).abs() <= 0.05 * expected + 0.02 * expected.max()
    assert near.float().mean() >= 0.75  # there may be a bend within the step of one or two
    assert expected.min() > 0
    for name, value in networks.discriminator.state_dict().items():
        assert torch.equal(after[name], value), name  # as one pass leaves it


@each_case
def test_images_that_do_not_move_change_nothing_to_the_bit(case):
    """So all else was the same: a second draw or another power iteration would be divided by the step."""

    class Still(FiniteDifferences):
        def _moved(self, game, samples):
            return samples

    _, games, reals = played(case)
    still = Still()
    for side in ("reals", "fakes"):
        assert not still.of(games(), reals, side).any()
    game = games()
    _, _, squares = still.judged(game, generate_detached(game, reals), reals, ("reals", "fakes"))
    assert not any(each.any() for each in squares.values())


@pytest.mark.parametrize("name", ["r3gan", "stylegan2", "biggan"])
def test_the_mean_over_directions_is_the_exact_penalty_of_small_networks(name):
    """With minibatch statistics it is the square by the whole group, of each image's own logit."""
    family = tiny_family(name, PLAIN)
    networks = seeded_networks(family)
    networks.discriminator.eval()
    (reals,) = DigitStream(PLAIN).draw(BATCH)
    with torch.no_grad():
        mean = FiniteDifferences(0.01, 200).of(tiny_game(family, networks), reals, "reals").mean()
    images = reals.images.requires_grad_()
    logits = tiny_game(family, networks).judge(images, None, exact=True).logits
    exact = torch.stack(
        [torch.autograd.grad(logit, images, retain_graph=True)[0].square().sum() for logit in logits]
    ).mean()
    assert float(mean) == pytest.approx(float(exact), rel=0.15)


# ---- turns


@each_family
@pytest.mark.parametrize("changes", [TURN, LAZY], ids=["turn", "lazy"])
def test_no_pass_is_exact_and_gradients_reach_what_exact_penalties_reach(name, changes):
    reached = []
    for method in ("finite_difference", "exact"):
        family = tiny_family(name, DIGITS, **{**changes, "penalty_method": method})
        networks = seeded_networks(family)
        (reals,) = DigitStream().draw(BATCH)
        found = {}
        for phase in (phase for phase in family.phases if phase.trains == "discriminator"):
            assert phase.exact == (method == "exact" and (changes is TURN or phase.name != "discriminator"))
            game = tiny_game(family, networks, images_seen=10**9)
            terms = phase.objective(game, reals)
            assert terms.loss.shape == (BATCH,)
            assert torch.isfinite(terms.loss).all()
            parameters = dict(networks.discriminator.named_parameters())
            gradients = torch.autograd.grad(terms.loss.mean(), list(parameters.values()), allow_unused=True)
            found[phase.name, *terms.stats] = {
                key for key, g in zip(parameters, gradients, strict=True) if g is not None and g.any()
            }
        reached.append(found)
    ours, exact = reached
    assert ours.keys() == exact.keys()
    for phase, names in exact.items():
        assert names <= ours[phase], phase


@each_family
def test_a_sample_moves_the_same_way_in_any_split(name):
    """Micro-batches and ranks hold every second sample. Batch statistics of all together excepted."""
    family = tiny_family(name, PLAIN, **AUGMENTED.get(name, {}))
    networks = seeded_networks(family)
    (reals,) = DigitStream(family.spec).draw(BATCH)
    networks.discriminator.eval()

    def squares(samples: range):
        part = reals.map(lambda x: x[samples.start :: samples.step])
        game = family.game(networks, family.schedule.at(10**9), SampleRandomness(samples), part)
        with torch.no_grad():
            return FiniteDifferences().of(game, part, "reals")

    whole = squares(range(BATCH))
    for start in (0, 1):
        part = squares(range(start, BATCH, 2))
        torch.testing.assert_close(part, whole[start::2], rtol=2e-3, atol=1e-3 * float(whole.max()))


def turn_of(name: str) -> Family:
    """A family whose discriminator alone has a turn, with both penalties and everything that moves."""
    family = tiny_family(name, PLAIN, **TURN, **AUGMENTED.get(name, {}))
    family.phases = tuple(phase for phase in family.phases if phase.name == "discriminator")
    return family


@pytest.mark.parametrize("name", ["biggan", "stylegan2"])
def test_a_traced_turn_replays_to_the_bit(name):
    """As a captured one would: with power iteration, groups, and an augmentation that is drawn."""
    eager, replaying, traced = pair(lambda graphs: tiny_trainer(turn_of(name), graphs=graphs))
    for _ in range(3):
        with Seen():
            eager.step()
            replaying.step()
    assert len(traced.graphs) == 1
    assert traced.replays >= 2
    assert_same(eager, replaying)


@each_family
def test_blocks_computed_again_change_no_bit_and_nothing_waits(name):
    kept, again = (tiny_trainer(turn_of(name), micro=BATCH // 2) for _ in range(2))
    recompute_blocks(again.networks.discriminator)
    for trainer in (kept, again):
        trainer.stream = Held(trainer.stream.draw(BATCH)[0])
        with unasked():
            for _ in range(3):
                trainer.step()
    assert_same(kept, again)


@pytest.mark.parametrize("name", ["progan", "stylegan2"])
def test_the_discriminators_turn_runs_compiled(name):
    family = tiny_family(name, PLAIN, **TURN)
    networks = seeded_networks(family)
    (reals,) = DigitStream(PLAIN).draw(BATCH)
    (turn,) = (phase for phase in family.phases if phase.name == "discriminator")

    def gradients():
        loss = turn.objective(tiny_game(family, networks, images_seen=10**9), reals).loss.mean()
        return torch.autograd.grad(loss, list(networks.discriminator.parameters()), allow_unused=True)

    expected, graphs = gradients(), []
    assert compile_main_phases(networks.discriminator, lambda graph, _: graphs.append(graph) or graph.forward)
    ours = gradients()
    assert graphs
    for a, b in zip(ours, expected, strict=True):
        if b is not None:
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3 * float(b.abs().max()))


@each_family
def test_a_step_is_finite_and_remembers_nothing_more(name):
    trainer = tiny_trainer(tiny_family(name, **LAZY))
    plain = tiny_trainer(tiny_family(name, **{**LAZY, "penalty_method": "exact"}))
    for _ in range(2):
        trainer.step()
        plain.step()
    ours, others = take(trainer), take(plain)
    assert {g: sorted(tensors) for g, tensors in ours.items()} == {
        g: sorted(tensors) for g, tensors in others.items()
    }
    figures = trainer.meters.flush()
    assert 0 < figures["penalty/r1"] < 1e4
    assert 0 < figures["penalty/r2"] < 1e4
