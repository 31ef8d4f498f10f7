"""A GAN family small enough to reason about: two linear-ish networks on 4x4 images, with a lazy R1
phase, repeats, growth and memory, so that the loop can be tested without any real family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from pipeline.contracts import (
    PIXELS,
    AdamRule,
    Batch,
    Codec,
    Engine,
    Fakes,
    ImageSpec,
    Needs,
    Net,
    Networks,
    Phase,
    Process,
    Randomness,
    Rule,
    Stage,
    Terms,
    Verdict,
)
from pipeline.engines.replicated import Replicated
from pipeline.randomness import SampleRandomness, derive_seed
from pipeline.training.trainer import Trainer
from pipeline.training.turns import Graphs

SIZE = 4
Z = 3


class ToyGenerator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(Z, 8), nn.Tanh(), nn.Linear(8, SIZE * SIZE))
        self.register_buffer("z_mean", torch.zeros(Z))

    def forward(self, z: Tensor) -> Tensor:
        return self.body(z).view(-1, 1, SIZE, SIZE)


class ToyDiscriminator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(SIZE * SIZE, 8), nn.Softplus(), nn.Linear(8, 1))
        self.unused_in_r1 = nn.Parameter(torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        return self.body(images).squeeze(1) + self.unused_in_r1


@dataclass(frozen=True)
class ToyGame:
    networks: Networks
    stage: Stage
    randomness: Randomness

    def present(self, reals: Batch) -> Batch:
        return reals

    def generate(self, count: int, labels: Tensor | None = None, *, exact: bool = False) -> Fakes:
        z = self.randomness.first(count).normal(Z)
        return Fakes(self.networks.generator(z), None, z)

    def judge(self, images: Tensor, labels: Tensor | None, *, exact: bool = False) -> Verdict:
        return Verdict(self.networks.discriminator(images))

    def judge_both(self, fakes: Fakes, reals: Batch, *, exact: bool = False) -> tuple[Verdict, Verdict]:
        return self.judge(fakes.images, None), self.judge(reals.images, reals.labels)


def generator_loss(game: ToyGame, reals: Batch) -> Terms:
    logits = game.judge(game.generate(len(reals)).images, None).logits
    loss = nn.functional.softplus(-logits)
    return Terms(loss, {"loss/generator": loss.mean()})


def discriminator_loss(game: ToyGame, reals: Batch) -> Terms:
    with torch.no_grad():
        fakes = game.generate(len(reals))
    loss = nn.functional.softplus(game.judge(fakes.images, None).logits)
    loss = loss + nn.functional.softplus(-game.judge(reals.images, reals.labels).logits)
    return Terms(loss, {"loss/discriminator": loss.mean(), "z_mean": fakes.latents.mean(0)})


def r1_loss(game: ToyGame, reals: Batch) -> Terms:
    images = reals.images.detach().requires_grad_(True)
    logits = game.judge(images, reals.labels).logits
    (gradient,) = torch.autograd.grad(logits.sum(), [images], create_graph=True)
    penalty = gradient.square().sum(dim=(1, 2, 3))
    return Terms(penalty, {"penalty/r1": penalty.mean()})


@dataclass(frozen=True)
class ToySchedule:
    batch_size: int
    grow_at: int | None = None

    def at(self, images_seen: int) -> Stage:
        grown = int(self.grow_at is not None and images_seen >= self.grow_at)
        return Stage(SIZE, 1.0, self.batch_size, {"generator": 0.01, "discriminator": 0.02}, grown, 0.9)

    def batch_sizes(self) -> tuple[int, ...]:
        return (self.batch_size,)


class ToyMemory(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("images", torch.zeros((), dtype=torch.int64))
        self.register_buffer("loss_mean", torch.zeros(()))


@dataclass
class ToyFamily:
    batch_size: int = 8
    grow_at: int | None = None
    discriminator_repeats: int = 1
    spec: ImageSpec = field(default_factory=lambda: ImageSpec(SIZE, SIZE, 1))
    codec: Codec = PIXELS
    memory: nn.Module = field(default_factory=ToyMemory)
    needs: Needs = field(default_factory=Needs)
    fixtures: Mapping[str, nn.Module] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.schedule = ToySchedule(self.batch_size, self.grow_at)
        self.phases = (
            Phase("generator", "generator", generator_loss),
            Phase("discriminator", "discriminator", discriminator_loss, repeats=self.discriminator_repeats),
            Phase("r1", "discriminator", r1_loss, every=4, gain=4.0),
        )
        rule = AdamRule(0.5, 0.9)
        self.optimizers: Mapping[Net, Rule] = {"generator": rule, "discriminator": rule}

    def networks(self) -> Networks:
        return Networks(ToyGenerator(), ToyDiscriminator())

    def game(
        self, networks: Networks, stage: Stage, randomness: Randomness, reals: Batch | None = None
    ) -> ToyGame:
        return ToyGame(networks, stage, randomness)

    def check_batch(self, images: int) -> None:
        pass

    def observe(self, networks: Networks, stats: Mapping[str, Tensor], images: int) -> None:
        self.memory.images += images
        self.memory.loss_mean.lerp_(stats["loss/generator"], 0.1)
        networks.generator.z_mean.lerp_(stats["z_mean"], 0.1)

    def figures(self) -> Mapping[str, Tensor]:
        return {"state/loss_mean": self.memory.loss_mean}

    def sampler(self, generator: nn.Module, stage: Stage | None = None) -> ToySampler:
        return ToySampler(generator)


@dataclass(frozen=True)
class ToySampler:
    generator: nn.Module

    def draw(
        self, seeds: Sequence[int], *, classes: Sequence[int] | None = None, truncation: float = 1.0
    ) -> Fakes:
        z = truncation * SampleRandomness(list(seeds)).normal(Z)
        return Fakes(self.generator(z), None, z)


class ToyStream:
    """Reals as a function of position, dealt to ranks in turn like the real stream."""

    def __init__(self, images_seen: int = 0, rank: int = 0, world_size: int = 1) -> None:
        self.position, self.rank, self.world_size = images_seen, rank, world_size
        self.drawn: list[int] = []
        self.factor, self.order = 1.0, "real"
        self._begin = images_seen

    @cached_property
    def others(self) -> ToyStream:
        others = ToyStream(self._begin, self.rank, self.world_size)
        others.order = "other" if self.order == "real" else f"another {self.order}"
        return others

    damaged = retries = 0

    def draw(self, batch_size: int, times: int = 1, *, resolution: int | None = None) -> list[Batch]:
        return [self._next(batch_size) for _ in range(times)]

    def _next(self, batch_size: int) -> Batch:
        mine = range(self.position + self.rank, self.position + batch_size, self.world_size)
        self.position += batch_size
        self.drawn.extend(mine)
        seeds = [derive_seed(self.order, position % 64) for position in mine]
        images = SampleRandomness(seeds).normal(1, SIZE, SIZE).clamp(-1, 1) * 0.5 + 0.3
        return Batch(images * self.factor)


def toy_trainer(
    family: ToyFamily | None = None,
    *,
    engine: Engine | None = None,
    start: int = 0,
    micro: int | None = None,
    graphs: Graphs | None = None,
) -> Trainer:
    """A run whose reals begin at `start`; of one process, if no engine is given."""
    family, engine = family or ToyFamily(), engine or Replicated(Process())
    torch.manual_seed(3)
    networks = family.networks()
    engine.attach(networks, family.optimizers)
    stream = ToyStream(start, engine.process.rank, engine.process.world_size)
    return Trainer(family, networks, engine, stream, seed=7, micro=micro, graphs=graphs)
