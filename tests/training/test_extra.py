"""What a batch has beside images passes through turns whole: replayed as it is now, and never asked for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from pipeline.contracts import SECOND, Batch, Field, ImageSpec, Process
from pipeline.engines.replicated import Replicated
from pipeline.training.trainer import Trainer
from tests.toy_families import TOYS
from tests.training.test_nothing_waits import Held, unasked
from tests.training.test_turns import assert_same
from tests.training.traced import Seen, Traced

SPEC = ImageSpec(8, 8, 3, fields=(Field("mask", "mask", (8, 8)), Field("text", "text", (12,))))


class Changing:
    """Reals, and all beside them, that are others at each draw."""

    damaged = retries = 0

    def __init__(self, seed: int = 0) -> None:
        self._random = torch.Generator().manual_seed(seed)

    @property
    def others(self) -> Changing:
        return self

    def draw(self, batch_size: int, times: int = 1, *, resolution: int | None = None) -> list[Batch]:
        return [self._one(batch_size) for _ in range(times)]

    def _one(self, n: int) -> Batch:
        def numbers(*shape: int) -> torch.Tensor:
            return torch.rand(n, *shape, generator=self._random)

        extra = {
            "mask": (numbers(1, 8, 8) * 2).to(torch.uint8),
            "text": (numbers(12) * 255).to(torch.uint8),
            SECOND: numbers(3, 8, 8) * 2 - 1,
            f"{SECOND}.labels": (numbers() * 9).long(),
        }
        return Batch(numbers(3, 8, 8) * 2 - 1, None, extra)


def trainer_of(name: str, graphs=None, micro=None) -> Trainer:
    family = TOYS[name](None, SPEC, batch_size=8)
    torch.manual_seed(3)
    networks, engine = family.networks(), Replicated(Process())
    engine.attach(networks, family.optimizers)
    return Trainer(family, networks, engine, Changing(), seed=7, graphs=graphs, micro=micro)


@pytest.mark.parametrize("micro", [None, 4])
@pytest.mark.parametrize("name", list(TOYS))
def test_a_replayed_turn_sees_the_extras_of_its_own_batch(name, micro):
    def changed() -> Iterator[torch.Tensor]:
        for network in (replaying.networks.generator, replaying.networks.discriminator):
            yield from (p.grad for p in network.parameters() if p.grad is not None)

    traced = Traced(changed)
    eager, replaying = trainer_of(name, micro=micro), trainer_of(name, traced, micro)
    for _ in range(5):
        with Seen():
            eager.step()
            replaying.step()
    assert traced.replays > len(traced.graphs) > 0
    assert_same(eager, replaying)


@pytest.mark.parametrize("name", list(TOYS))
def test_a_step_asks_the_device_for_nothing(name):
    trainer = trainer_of(name)
    trainer.stream = Held(Changing().draw(8)[0])
    with unasked():
        for _ in range(4):
            trainer.step()
    assert trainer.progress.step == 4


def test_a_batch_is_changed_whole():
    batch = Changing().draw(8)[0]
    part = batch.map(lambda tensor: tensor[1::2])
    assert len(part) == 4
    assert part.labels is None
    assert part.extra.keys() == batch.extra.keys()
    for whole, half in zip(batch.tensors(), part.tensors(), strict=True):
        assert torch.equal(half, whole[1::2])
    assert len(Batch(batch.images, torch.arange(8), batch.extra).tensors()) == 2 + len(batch.extra)
