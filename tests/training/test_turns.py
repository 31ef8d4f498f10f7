"""A turn is a function of its buffers: traced once, replayed on others, it is the eager turn to the bit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from pipeline.contracts import Stage
from pipeline.randomness import SampleRandomness
from pipeline.training.chance import Drawn, Noted, Request, draw
from pipeline.training.state import take
from pipeline.training.trainer import Trainer
from pipeline.training.turns import moving_scalars, with_scalars
from tests.tiny_families import DIGITS, LABELLED, PLAIN, TINY, seeded_networks, tiny_family, tiny_trainer
from tests.toy import ToyFamily, toy_trainer
from tests.training.traced import Seen, Traced


def changed_by(trainer: Trainer) -> Iterator[torch.Tensor]:
    """All that a turn may change: gradients and buffers."""
    for network in (trainer.networks.generator, trainer.networks.discriminator):
        yield from (p.grad for p in network.parameters() if p.grad is not None)
        yield from network.buffers()
    yield from trainer.family.memory.buffers()


def pair(make) -> tuple[Trainer, Trainer, Traced]:
    """Two trainers of the same run: the second replays what was traced."""
    eager = make(None)
    traced = Traced(lambda: changed_by(replaying))
    replaying = make(traced)
    return eager, replaying, traced


def assert_same(first: Trainer, second: Trainer) -> None:
    expected, got = take(first), take(second)
    for group, tensors in expected.items():
        assert tensors.keys() == got[group].keys()
        for name, value in tensors.items():
            assert torch.equal(got[group][name], value), f"{group}/{name}"


def every_step(family):
    """All phases of it in each step, so that the lazy ones are captured too."""
    family.phases = tuple(replace(phase, every=1) for phase in family.phases)
    return family


SHALLOW = {"gat": {"depth": 2, "levels": 2}}  # a trace runs each operation through Python


@pytest.mark.parametrize(("spec", "micro"), [(DIGITS, None), (PLAIN, 4)], ids=["classes", "plain in micros"])
@pytest.mark.parametrize("name", TINY)
def test_a_traced_phase_replays_to_the_bit_what_an_eager_one_computes(name, spec, micro):
    def make(graphs):
        family = tiny_family(name, DIGITS if name in LABELLED else spec, **SHALLOW.get(name, {}))
        return tiny_trainer(every_step(family), micro=micro, graphs=graphs)

    eager, replaying, traced = pair(make)
    for _ in range(3):
        with Seen():
            eager.step()
            replaying.step()
    assert traced.replays >= len(traced.graphs) >= len(eager.family.phases)
    assert_same(eager, replaying)
    assert eager.meters.flush() == replaying.meters.flush()


FADING = {"first_resolution": 4, "stable_images": 8, "fade_images": 64}
BURNING_IN = {
    "burn_in_images": 200,
    "r1_gamma": 4.0,
    "r1_gamma_end": 0.1,
    "augment_kinds": ["blit", "color"],
    "augment_p": 0.1,
    "augment_p_end": 0.6,
}


@pytest.mark.parametrize(("name", "changes"), [("progan", FADING), ("r3gan", BURNING_IN)])
def test_what_moves_from_step_to_step_moves_in_a_replay(name, changes):
    def make(graphs):
        return tiny_trainer(tiny_family(name, **changes), graphs=graphs)

    eager, replaying, traced = pair(make)
    stages: list[Stage] = []
    for _ in range(8):
        stages.append(eager.family.schedule.at(eager.progress.images_seen))
        with Seen():
            eager.step()
            replaying.step()
    assert len({(stage.fade, *stage.weights.values()) for stage in stages}) > 5
    assert traced.replays >= 2 * len(traced.graphs)
    assert_same(eager, replaying)


def test_growth_and_another_batch_are_captured_anew():
    eager, replaying, traced = pair(lambda graphs: toy_trainer(ToyFamily(grow_at=40), graphs=graphs))
    for _ in range(10):
        with Seen():
            eager.step()
            replaying.step()
    assert len(traced.graphs) == 4  # two main phases, before growth and after; R1, lazy, never
    assert_same(eager, replaying)


def test_what_cannot_be_captured_goes_on_eagerly():
    class Refusing(Traced):
        def capture(self, run):
            self.asked = True

    refusing = Refusing(lambda: ())
    eager, refused = toy_trainer(), toy_trainer(graphs=refusing)
    for _ in range(5):
        eager.step()
        refused.step()
    assert refusing.asked
    assert not refusing.replays
    assert_same(eager, refused)


def test_numbers_drawn_first_are_those_drawn_on_the_way():
    asked = Noted(SampleRandomness(range(5)))
    on_the_way = [asked.normal(3), asked.first(2).uniform(4, 1), asked.integers(7), asked.uniform()]
    assert asked.requests[1:3] == [Request("uniform", 2, (4, 1)), Request("integers", 5, (7,))]
    first = draw(SampleRandomness(range(5)), asked.requests)
    assert all(map(torch.equal, first, on_the_way))
    given = Drawn(5, asked.requests, first)
    again = [given.normal(3), given.first(2).uniform(4, 1), given.integers(7), given.uniform()]
    assert all(map(torch.equal, again, on_the_way))
    with pytest.raises(RuntimeError, match="drawn beforehand: nothing more"):
        given.normal(3)


@pytest.mark.parametrize(
    "ask", [lambda r: r.normal(4), lambda r: r.uniform(3), lambda r: r.first(2).normal(3)]
)
def test_other_numbers_than_were_drawn_are_an_error(ask):
    drawn = Drawn(5, [Request("normal", 5, (3,))], [torch.zeros(5, 3)])
    with pytest.raises(RuntimeError, match="random numbers asked for"):
        ask(drawn)


def test_a_game_gets_what_moves_as_scalars_and_a_whole_fade_as_it_is():
    family = tiny_family("progan", **FADING)
    fading = with_scalars(family.schedule.at(16), moving_scalars(family.schedule.at(16), torch.device("cpu")))
    assert isinstance(fading.fade, torch.Tensor)
    assert 0 < float(fading.fade) < 1
    whole = family.schedule.at(0)
    assert with_scalars(whole, moving_scalars(whole, torch.device("cpu"))).fade == 1
    networks = seeded_networks(family)
    z = torch.randn(2, networks.generator.z_dim)
    labels = torch.tensor([1, 2])
    half = [networks.generator(z, labels, resolution=8, fade=fade) for fade in (0.5, torch.tensor(0.5))]
    torch.testing.assert_close(*half)
