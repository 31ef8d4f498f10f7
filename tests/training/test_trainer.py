"""The step, on a toy family: who moves, in which turn, on which data, whatever the split."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from pipeline.contracts import Batch, Process, Terms
from pipeline.engines.replicated import Replicated
from pipeline.training.state import put_back, take
from pipeline.training.trainer import Trainer
from tests.toy import ToyFamily, ToyStream, toy_trainer


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    groups = take(trainer)
    return {f"{g}/{n}": v.clone() for g, tensors in groups.items() for n, v in tensors.items()}


def test_each_phase_moves_its_network_alone():
    trainer = toy_trainer()
    moved = []

    def watch(objective, net):
        def run(game, reals: Batch) -> Terms:
            other = "discriminator" if net == "generator" else "generator"
            assert not any(p.requires_grad for p in trainer.networks[other].parameters())
            assert all(p.requires_grad for p in trainer.networks[net].parameters())
            moved.append(net)
            return objective(game, reals)

        return run

    family = trainer.family
    family.phases = tuple(
        type(p)(p.name, p.trains, watch(p.objective, p.trains), p.every, p.repeats, p.gain)
        for p in family.phases
    )
    for _ in range(5):
        trainer.step()
    assert moved == [
        *["generator", "discriminator", "discriminator"],
        *["generator", "discriminator"] * 3,
        *["generator", "discriminator", "discriminator"],
    ]
    assert all(p.requires_grad for _, m in trainer.networks.items() for p in m.parameters())


def test_position_counts_every_image_drawn():
    trainer = toy_trainer(ToyFamily(discriminator_repeats=3))
    trainer.step()
    trainer.step()
    assert trainer.progress.images_seen == 2 * 3 * 8
    assert trainer.stream.drawn == list(range(48))
    assert trainer.family.memory.images == 48


@pytest.mark.parametrize("micro", [4, 2, 1])
def test_micro_batches_change_rounding_only(micro):
    whole, split = toy_trainer(), toy_trainer(micro=micro)
    for _ in range(10):
        whole.step()
        split.step()
    for name, value in weights(whole).items():
        torch.testing.assert_close(weights(split)[name], value, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("stop_after", [1, 3, 4, 6])
def test_a_restart_is_bitwise_even_across_growth(stop_after):
    straight = toy_trainer(ToyFamily(grow_at=32))
    for _ in range(9):
        straight.step()
    first = toy_trainer(ToyFamily(grow_at=32))
    for _ in range(stop_after):
        first.step()
    saved = copy.deepcopy(take(first))
    torch.manual_seed(99)  # a restart finds another global random state
    second = toy_trainer(ToyFamily(grow_at=32), start=8 * stop_after)
    put_back(second, saved)
    for _ in range(9 - stop_after):
        second.step()
    expected = weights(straight)
    got = weights(second)
    assert expected.keys() == got.keys()
    for name, value in expected.items():
        assert torch.equal(got[name], value), name


class Alone(Replicated):
    """One rank of several, whose averages are its own."""

    def _average(self, flat: torch.Tensor) -> None:
        pass


def chance(world: int, micro: int | None) -> dict[tuple[str, bytes], bytes]:
    """By phase and real, the random numbers that its sample got, of all ranks."""
    found = {}

    def watched(phase):
        def objective(game, reals):
            drawn = game.randomness.normal(2)
            for image, numbers in zip(reals.images, drawn, strict=True):
                found[phase.name, image.numpy().tobytes()] = numbers.numpy().tobytes()
            return phase.objective(game, reals)

        return replace(phase, objective=objective)

    for rank in range(world):
        family = ToyFamily(discriminator_repeats=2)
        trainer = toy_trainer(family, engine=Alone(Process(rank, world)), micro=micro)
        family.phases = tuple(map(watched, family.phases))
        for _ in range(2):
            trainer.step()
    return found


@pytest.mark.parametrize(("world", "micro"), [(1, 4), (1, 2), (1, 1), (2, None), (2, 2), (4, 1)])
def test_each_sample_keeps_its_random_numbers_in_any_split(world, micro):
    """Beside its real, not only as a set: relativistic losses and labels pair the two."""
    whole = chance(1, None)
    assert len(whole) == 2 * 8 + 2 * 16 + 8  # generator, two turns of the discriminator, R1 once
    assert len(set(whole.values())) == len(whole)
    assert chance(world, micro) == whole


def own(phases: tuple[str, ...] = ("r1",), start: int = 0) -> Trainer:
    """A toy run in which these have reals of their own; R1 is due every fourth step."""
    family = ToyFamily(discriminator_repeats=2)
    family.phases = tuple(replace(p, own_reals=p.name in phases) for p in family.phases)
    return toy_trainer(family, start=start)


@pytest.mark.parametrize("phases", [("r1",), ("generator",), ("generator", "r1")])
def test_reals_of_a_phases_own_do_not_count_and_keep_step(phases):
    trainer, given = own(phases), {}

    def watched(phase):
        def objective(game, reals):
            given.setdefault(phase.name, []).append(reals.images)
            return phase.objective(game, reals)

        return replace(phase, objective=objective)

    trainer.family.phases = tuple(map(watched, trainer.family.phases))
    for _ in range(5):
        trainer.step()
    assert trainer.progress.images_seen == 5 * 2 * 8
    assert trainer.stream.drawn == trainer.stream.others.drawn == list(range(80))
    main, others = ToyStream().draw(8, 10), ToyStream().others.draw(8, 10)
    for name, every in (("discriminator", 1), ("generator", 2), ("r1", 8)):
        batches = others if name in phases else main
        assert torch.equal(torch.cat(given[name]), torch.cat([b.images for b in batches[::every]])), name


@pytest.mark.parametrize("stop_after", [1, 3, 4])
def test_a_restart_with_reals_of_a_phases_own_is_bitwise(stop_after):
    straight, first = own(), own()
    for _ in range(6):
        straight.step()
    for _ in range(stop_after):
        first.step()
    second = own(start=first.progress.images_seen)
    put_back(second, copy.deepcopy(take(first)))
    for _ in range(6 - stop_after):
        second.step()
    for name, value in weights(straight).items():
        assert torch.equal(weights(second)[name], value), name


def test_phases_may_have_an_order_each():
    family = ToyFamily()
    numbers = {"generator": 1, "discriminator": 0, "r1": 2}
    family.phases = tuple(replace(p, own_reals=numbers[p.name]) for p in family.phases)
    trainer = toy_trainer(family)
    for _ in range(5):
        trainer.step()
    orders = [trainer.stream, trainer.stream.others, trainer.stream.others.others]
    assert [order.drawn for order in orders] == [list(range(40))] * 3
    images = [ToyStream().draw(8)[0].images, ToyStream().others.draw(8)[0].images]
    images.append(ToyStream().others.others.draw(8)[0].images)
    assert not any(torch.equal(a, b) for i, a in enumerate(images) for b in images[:i])
    reals = trainer._draw()
    assert len(reals) == 3


def test_growth_resets_both_optimizers():
    trainer = toy_trainer(ToyFamily(grow_at=16))
    for _ in range(2):
        trainer.step()
    assert trainer.engine.optimizer_state()["generator.body.0.weight.step"] == 2
    trainer.step()
    assert trainer.progress.growth == 1
    assert trainer.engine.optimizer_state()["generator.body.0.weight.step"] == 1


def test_bad_updates_are_counted_in_a_row():
    trainer = toy_trainer()
    family = trainer.family
    good = family.phases
    bad = tuple(
        type(p)(p.name, p.trains, p.objective, p.every, p.repeats, float("nan"))
        for p in good
        if p.name != "r1"
    )
    family.phases = bad
    before = copy.deepcopy(trainer.networks.generator.state_dict())
    trainer.step()
    trainer.step()
    assert trainer.bad_updates.tolist() == [2, 2, 0]
    for name, value in trainer.networks.generator.body.state_dict().items():
        assert torch.equal(value, before[f"body.{name}"])
    family.phases = good
    trainer.step()
    assert trainer.bad_updates.tolist() == [0, 0, 0]


def test_it_learns():
    """The generator's images come closer to the reals than those of the untrained control."""
    reals = ToyStream().draw(64)[0].images.mean()

    def distance(trainer: Trainer) -> float:
        images = trainer.family.sampler(trainer.averager.average).draw(range(64)).images
        return float((images.mean() - reals).abs())

    trainer = toy_trainer(ToyFamily(batch_size=16))
    control = distance(trainer)
    for _ in range(300):
        trainer.step()
    assert distance(trainer) < 0.5 * control
