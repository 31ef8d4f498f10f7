"""Families in a few lines that need what no family of the product needs yet: several networks a player, a
player that is empty, other optimizers, clipping, masks and texts, a second set of images.

`hrgan train` takes them in the place of the family that a configuration names (`instead`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from pipeline.contracts import (
    PIXELS,
    SECOND,
    AdamRule,
    AdamWRule,
    Batch,
    Fakes,
    ImageSpec,
    Needs,
    Net,
    Networks,
    Phase,
    Randomness,
    RMSPropRule,
    Rule,
    SGDRule,
    Stage,
    Terms,
    Verdict,
)
from pipeline.randomness import SampleRandomness

Z = 4


@dataclass(frozen=True)
class Steady:
    """One stage throughout."""

    resolution: int
    batch_size: int
    rates: Mapping[Net, float]

    def at(self, images_seen: int) -> Stage:
        return Stage(self.resolution, 1.0, self.batch_size, self.rates, ema_beta=0.9 if images_seen else 0.0)

    def batch_sizes(self) -> tuple[int, ...]:
        return (self.batch_size,)


@dataclass(frozen=True)
class Play:
    """A game that knows the batch that it is played on."""

    networks: Networks
    stage: Stage
    randomness: Randomness
    reals: Batch

    def present(self, reals: Batch) -> Batch:
        return reals

    def generate(self, count: int, labels: Tensor | None = None, *, exact: bool = False) -> Fakes:
        z = self.randomness.first(count).normal(Z)
        return Fakes(self.networks.generator(z), labels, z)

    def judge(self, images: Tensor, labels: Tensor | None, *, exact: bool = False) -> Verdict:
        return Verdict(self.networks.discriminator(images).flatten())

    def judge_both(self, fakes: Fakes, reals: Batch, *, exact: bool = False) -> tuple[Verdict, Verdict]:
        return self.judge(fakes.images, None), self.judge(reals.images, None)


class Seeded:
    """A sampler of whatever `make` makes of seeds."""

    def __init__(self, make: Any) -> None:
        self._make = make

    @torch.no_grad()
    def draw(
        self, seeds: Sequence[int], *, classes: Sequence[int] | None = None, truncation: float = 1.0
    ) -> Fakes:
        randomness = SampleRandomness(list(seeds))
        images = torch.cat([self._make(randomness_of(seed)) for seed in seeds])
        return Fakes(images, None, randomness.normal(Z))


def randomness_of(seed: int) -> SampleRandomness:
    return SampleRandomness([seed])


class Toy:
    """What they share."""

    codec = PIXELS
    needs = Needs()
    fixtures: Mapping[str, nn.Module] = {}
    rules: Mapping[Net, Rule] = {
        "generator": AdamRule(0.5, 0.9, 1e-4),
        "discriminator": AdamRule(0.5, 0.9, 1e-4),
    }
    phases: tuple[Phase, ...]

    def __init__(self, config: Any, spec: ImageSpec, *, batch_size: int, low_precision: Any = None) -> None:
        self.config, self.spec = config, spec
        self.optimizers = dict(self.rules)
        self.schedule = Steady(spec.height, batch_size, {"generator": 0.01, "discriminator": 0.02})
        self.memory = nn.Module()
        self.numbers = spec.channels * spec.height * spec.width

    def images(self, *before: nn.Module) -> nn.Module:
        shape = (self.spec.channels, self.spec.height, self.spec.width)
        return nn.Sequential(*before, nn.Linear(8, self.numbers), nn.Tanh(), nn.Unflatten(1, shape))

    def translator(self, extra: int = 0) -> nn.Module:
        return self.images(nn.Flatten(), nn.Linear(self.numbers + extra, 8), nn.Tanh())

    def critic(self, inputs: int | None = None) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(inputs or self.numbers, 8), nn.Tanh(), nn.Linear(8, 1))

    def noise(self, randomness: Randomness) -> Tensor:
        return randomness.uniform(self.spec.channels, self.spec.height, self.spec.width) * 2 - 1

    def game(
        self, networks: Networks, stage: Stage, randomness: Randomness, reals: Batch | None = None
    ) -> Play:
        assert reals is not None
        return Play(networks, stage, randomness, reals)

    def check_batch(self, images: int) -> None:
        pass

    def observe(self, networks: Networks, stats: Mapping[str, Tensor], images: int) -> None:
        pass

    def figures(self) -> Mapping[str, Tensor]:
        return {}


class TwoWays(Toy):
    """CycleGAN's players (Zhu et al. 2017): two generators and two critics, on two unpaired sets."""

    needs = Needs(second=True, fields=(f"{SECOND}.labels",))

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.phases = (
            Phase("generator", "generator", self._translate),
            Phase("discriminator", "discriminator", self._tell_apart, gain=0.5),
        )

    def networks(self) -> Networks:
        both = {"there": self.translator(), "back": self.translator()}
        return Networks(nn.ModuleDict(both), nn.ModuleDict({name: self.critic() for name in both}))

    @staticmethod
    def _translate(game: Play, reals: Batch) -> Terms:
        makers, critics = game.networks.generator, game.networks.discriminator
        loss, error = torch.zeros(len(reals)), torch.zeros(len(reals))
        for forth, back, real in (
            ("there", "back", reals.images),
            ("back", "there", reals.extra[SECOND]),
        ):
            fake = makers[forth](real)
            error = error + (makers[back](fake) - real).abs().flatten(1).mean(1)
            loss = loss + (critics[forth](fake).flatten() - 1).square()
        return Terms(loss + 10 * error, {"error": error.detach().mean()})

    @staticmethod
    def _tell_apart(game: Play, reals: Batch) -> Terms:
        makers, critics = game.networks.generator, game.networks.discriminator
        assert reals.extra[f"{SECOND}.labels"].shape == (len(reals),)
        loss = torch.zeros(len(reals))
        pairs = {
            "there": (reals.images, reals.extra[SECOND]),
            "back": (reals.extra[SECOND], reals.images),
        }
        for name, (given, wanted) in pairs.items():
            with torch.no_grad():
                fake = makers[name](given)
            loss = loss + critics[name](fake).flatten().square()
            loss = loss + (critics[name](wanted).flatten() - 1).square()
        return Terms(loss, {"loss/discriminator": loss.detach().mean()})

    def sampler(self, generator: nn.Module, stage: Stage | None = None) -> Seeded:
        return Seeded(lambda randomness: generator["there"](self.noise(randomness)))


class Alone(Toy):
    """An autoencoder (Kingma and Welling 2014, without its prior): nobody plays against it; RMSProp."""

    rules: Mapping[Net, Rule] = {"generator": RMSPropRule(0.9, 1e-4, 0.5, clip_norm=0.2)}

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.phases = (Phase("likelihood", "generator", self._error),)

    def networks(self) -> Networks:
        encoder = nn.Sequential(nn.Flatten(), nn.Linear(self.numbers, Z))
        parts = {"encoder": encoder, "decoder": self.images(nn.Linear(Z, 8), nn.Tanh())}
        return Networks(nn.ModuleDict(parts), nn.Module())

    @staticmethod
    def _error(game: Play, reals: Batch) -> Terms:
        parts = game.networks.generator
        code = parts["encoder"](reals.images)
        made = parts["decoder"](code + 0.1 * game.randomness.normal(Z))
        loss = (made - reals.images).square().flatten(1).sum(1)
        return Terms(loss, {"error": loss.detach().mean()})

    def sampler(self, generator: nn.Module, stage: Stage | None = None) -> Seeded:
        return Seeded(lambda randomness: generator["decoder"](randomness.normal(Z)))


class Filled(Toy):
    """Inpainting: what a mask hides is filled in, told by a text; SGD with momentum against AdamW, clipped;
    the generator's reals are its own, and so are those of a third phase."""

    needs = Needs(fields=("mask", "text"))
    rules: Mapping[Net, Rule] = {
        "generator": SGDRule(0.9, clip_norm=1.0),
        "discriminator": AdamWRule(0.5, 0.9, 0.1, 1e-4, clip_norm=0.1),
    }

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.text = next(field.shape[0] for field in self.spec.fields if field.name == "text")
        critic = Phase("discriminator", "discriminator", self._tell_apart, repeats=2)
        self.phases = (
            Phase("generator", "generator", self._fill, own_reals=1),
            critic,
            replace(critic, name="again", every=2, repeats=1, own_reals=2),
        )

    def networks(self) -> Networks:
        hidden = self.spec.height * self.spec.width + self.text
        return Networks(self.translator(hidden), self.critic(self.numbers + hidden))

    def filled(self, generator: nn.Module, images: Tensor, mask: Tensor, text: Tensor) -> Tensor:
        hidden = (mask > 0).float()
        known = images * (1 - hidden)
        told = torch.cat([known.flatten(1), hidden.flatten(1), text / 255], dim=1)
        made: Tensor = generator(told)
        return known + made * hidden

    def _seen(self, game: Play, images: Tensor) -> Tensor:
        extra = game.reals.extra  # the game knows its batch; objectives of the product need not pass it on
        told = [images.flatten(1), (extra["mask"] > 0).float().flatten(1), extra["text"] / 255]
        return game.judge(torch.cat(told, dim=1), None).logits

    def _fill(self, game: Play, reals: Batch) -> Terms:
        extra = reals.extra
        fake = self.filled(game.networks.generator, reals.images, extra["mask"], extra["text"])
        loss = nn.functional.softplus(-self._seen(game, fake))
        error = (fake - reals.images).abs().flatten(1).mean(1)
        return Terms(loss + 10 * error, {"error": error.detach().mean()})

    def _tell_apart(self, game: Play, reals: Batch) -> Terms:
        extra = reals.extra
        with torch.no_grad():
            fake = self.filled(game.networks.generator, reals.images, extra["mask"], extra["text"])
        loss = nn.functional.softplus(self._seen(game, fake))
        loss = loss + nn.functional.softplus(-self._seen(game, reals.images))
        return Terms(loss, {"loss/discriminator": loss.detach().mean()})

    def sampler(self, generator: nn.Module, stage: Stage | None = None) -> Seeded:
        def make(randomness: Randomness) -> Tensor:
            images = self.noise(randomness)
            mask = torch.ones(1, 1, *images.shape[2:])
            return self.filled(generator, images, mask, torch.zeros(1, self.text))

        return Seeded(make)


TOYS: dict[str, type[Toy]] = {"two ways": TwoWays, "alone": Alone, "filled": Filled}


@contextmanager
def instead(kind: type[Toy]) -> Iterator[None]:
    """Whatever a configuration names, runs and snapshots get this family."""
    with (
        patch("launch.assembly.trainer.build_family", kind),
        patch("launch.assembly.sampling.build_family", kind),
    ):
        yield
