"""Families with several heads, levels, groups or a codec through the real loop: what holds for every one."""

from __future__ import annotations

import copy

import pytest
import torch

from pipeline.training.state import put_back, take
from tests.game_toys import LEARNING, TOYS, toy_family
from tests.tiny_families import (
    BATCH,
    PLAIN,
    DigitStream,
    seeded_networks,
    sliced_distance,
    tiny_game,
    tiny_trainer,
)
from tests.training.test_nothing_waits import Held, unasked
from tests.training.test_turns import assert_same, every_step, pair
from tests.training.traced import Seen

each_toy = pytest.mark.parametrize("name", TOYS)


@each_toy
def test_gradients_reach_every_parameter(name):
    family = toy_family(name)
    networks = seeded_networks(family)
    (reals,) = DigitStream(PLAIN).draw(BATCH)
    game = tiny_game(family, networks)
    reached: dict[str, set[str]] = {"generator": set(), "discriminator": set()}
    for phase in family.phases:
        terms = phase.objective(game, game.present(family.codec.encode(reals, game.randomness)))
        assert terms.loss.shape == (BATCH,)
        assert all(not value.requires_grad for value in terms.stats.values())
        named = dict(networks[phase.trains].named_parameters())
        grads = torch.autograd.grad(terms.loss.mean(), list(named.values()), allow_unused=True)
        reached[phase.trains] |= {
            key for key, grad in zip(named, grads, strict=True) if grad is not None and grad.abs().max() > 0
        }
    for net, module in networks.items():
        assert {key for key, _ in module.named_parameters()} - reached[net] == set()


@each_toy
def test_a_restart_is_bitwise(name):
    straight = tiny_trainer(toy_family(name), micro=BATCH // 2)
    for _ in range(3):
        straight.step()
    saved = copy.deepcopy(take(straight))
    for _ in range(3):
        straight.step()
    resumed = tiny_trainer(toy_family(name), micro=BATCH // 2)
    put_back(resumed, saved)
    resumed.stream = DigitStream(PLAIN, resumed.progress.images_seen)
    for _ in range(3):
        resumed.step()
    ours, theirs = take(resumed), take(straight)
    for group, tensors in theirs.items():
        assert ours[group].keys() == tensors.keys()
        for key, value in tensors.items():
            assert torch.equal(ours[group][key], value), f"{group}: {key}"


@each_toy
def test_micro_batches_change_rounding_only(name):
    whole, split = (tiny_trainer(toy_family(name), micro=micro) for micro in (None, BATCH // 2))
    for trainer in (whole, split):
        trainer.step()
    ours, theirs = take(split), take(whole)
    compared = 0
    for group, tensors in theirs.items():
        for key, value in tensors.items():
            if "exp_avg" in key or group == "memory" or "running_" in key:
                torch.testing.assert_close(
                    ours[group][key], value, rtol=1e-3, atol=1e-6, msg=f"{group}: {key}"
                )
                compared += 1
    assert compared > 10


@each_toy
def test_a_traced_phase_replays_to_the_bit_what_an_eager_one_computes(name):
    """Numbers that are drawn first, moments that are measured on the way: all of it goes into the graph."""

    def make(graphs):
        return tiny_trainer(every_step(toy_family(name)), micro=BATCH // 2, graphs=graphs)

    eager, replaying, traced = pair(make)
    for _ in range(4):
        with Seen():
            eager.step()
            replaying.step()
    assert traced.replays >= len(traced.graphs) >= len(eager.family.phases)
    assert_same(eager, replaying)


@each_toy
def test_no_step_asks_the_device(name):
    trainer = tiny_trainer(toy_family(name))
    (batch,) = trainer.stream.draw(BATCH)
    trainer.stream = Held(batch)
    with unasked():
        for _ in range(3):
            trainer.step()
            trainer.fetch()


@pytest.mark.slow
@each_toy
def test_samples_come_closer_to_digits(name):
    trainer = tiny_trainer(toy_family(name, **LEARNING))
    digits = DigitStream(PLAIN).images[:100]

    def distance() -> float:
        samples = trainer.family.sampler(trainer.averager.average).draw(range(100)).images
        return sliced_distance(samples, digits)

    control = distance()
    for _ in range(200):
        trainer.step()
    assert distance() < 0.65 * control
