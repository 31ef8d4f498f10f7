"""CycleGAN (Zhu et al. 2017): two sets without pairs, each translated into the other and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.config.families import CycleGANConfig
from pipeline.contracts import (
    PIXELS,
    SECOND,
    AdamRule,
    Batch,
    Fakes,
    Game,
    ImageSpec,
    Needs,
    Net,
    Networks,
    Phase,
    Randomness,
    Rule,
    Sampler,
    Schedule,
    Stage,
    Terms,
    Translation,
    per_image,
)
from pipeline.errors import UserError
from pipeline.losses import ADVERSARIAL, Adversarial
from pipeline.models.layers import least_side
from pipeline.models.plain import PlainGame
from pipeline.models.precision import refuse_low_precision
from pipeline.models.translation.discriminators import Patches
from pipeline.models.translation.generator import TranslatingGenerator
from pipeline.models.translation.given import in_channels
from pipeline.models.translation.resnet import ResNet
from pipeline.models.translation.sampler import TranslationSampler
from pipeline.models.translation.schedule import DecayingSchedule


class Ways(nn.Module):
    """A network for each direction; called, it is that from the first set to the second."""

    def __init__(self, there: nn.Module, back: nn.Module) -> None:
        super().__init__()
        self.there, self.back = there, back

    def forward(self, *given: Any, **how: Any) -> Any:
        return self.there(*given, **how)


class Translators(Ways, TranslatingGenerator):
    """A generator for each direction."""

    def __init__(self, there: ResNet, back: ResNet) -> None:
        super().__init__(there, back)
        self.divisor, self.least = there.divisor, there.least


@dataclass(frozen=True)
class SetGiven:
    """Implements Giving: the images of the first set, as they are."""

    channels: int
    fields: tuple[str, ...] = ()

    def inputs(self, reals: Batch, randomness: Randomness) -> Tensor:
        return reals.images

    def taken(self, given: Tensor, holes: Tensor | None = None) -> Tensor:
        return given

    @property
    def translation(self) -> Translation:
        return Translation(self.channels)

    def finished(self, images: Tensor, inputs: Tensor) -> Tensor:
        return images

    def shown(self, inputs: Tensor, size: tuple[int, int], channels: int) -> Tensor:
        return in_channels(inputs, channels)


@dataclass(frozen=True)
class CycleGame(PlainGame):
    """Fakes are translations of the micro-batch's first images; the discriminator that is asked judges
    whether images are of the second set."""

    reals: Batch | None = None

    def generate(self, count: int, labels: Tensor | None = None, *, exact: bool = False) -> Fakes:
        assert self.reals is not None, "a translator plays with reals alone"
        inputs = self.reals.images[:count]
        made = self.networks.generator(inputs, [], exact=exact)
        return Fakes(made, labels, inputs.flatten(1))


class CycleTurn:
    """The loss of both generators (Zhu et al. 2017, eq. 3 and section 5.2, "identity")."""

    def __init__(self, config: CycleGANConfig, loss: Adversarial) -> None:
        self.config, self.loss = config, loss

    def __call__(self, game: Game, reals: Batch) -> Terms:
        makers, judges = game.networks.generator, game.networks.discriminator
        assert isinstance(makers, Ways)
        assert isinstance(judges, Ways)
        first, second = reals.images, reals.extra[SECOND]
        there, back = makers.there, makers.back
        loss, cycle, same = (first.new_zeros(len(reals)) for _ in range(3))
        for forth, home, judge, given, wanted in (
            (there, back, judges.there, first, second),
            (back, there, judges.back, second, first),
        ):
            fake = game.generate(len(reals), reals.labels).images if forth is there else forth(given, [])
            heads = judge(fake).heads
            loss = loss + per_image([self.loss.generator(head, head) for head in heads])
            cycle = cycle + _apart(home(fake, []), given)
            if self.config.identity_weight:
                same = same + _apart(forth(wanted, []), wanted)
        weight = self.config.cycle_weight
        whole = loss + weight * cycle + weight * self.config.identity_weight * same
        stats = {"loss/adversarial": loss, "loss/cycle": cycle, "loss/generator": whole}
        if self.config.identity_weight:
            stats["loss/identity"] = same
        return Terms(whole, {name: value.detach().mean() for name, value in stats.items()})


class JudgingBoth:
    """The loss of both discriminators, half of it as in the paper (section 4), on fakes of which half are an
    older generator's.

    In the place of stored images (the pool of Shrivastava et al. 2017, section 2.3), which no two ranks would
    share, older weights make them anew: the same law, and the same on any number of ranks.
    """

    def __init__(self, loss: Adversarial, older: Older) -> None:
        self.loss, self.older = loss, older

    def __call__(self, game: Game, reals: Batch) -> Terms:
        makers, judges = game.networks.generator, game.networks.discriminator
        assert isinstance(makers, Ways)
        assert isinstance(judges, Ways)
        first, second = reals.images, reals.extra[SECOND]
        loss = first.new_zeros(len(reals))
        stats: dict[str, Tensor] = {}
        for way, given, wanted in (("there", first, second), ("back", second, first)):
            fake = self._fakes(game, makers, way, given, reals.labels)
            judge = getattr(judges, way)
            real, made = judge(wanted), judge(fake)
            loss = loss + per_image(list(map(self.loss.discriminator, real.heads, made.heads))) / 2
            if way == "there":
                stats = {"logits/real": real.logits, "logits/fake": made.logits}
        stats["loss/discriminator"] = loss
        return Terms(loss, {name: value.detach().mean() for name, value in stats.items()})

    @torch.no_grad()
    def _fakes(self, game: Game, makers: Ways, way: str, given: Tensor, labels: Tensor | None) -> Tensor:
        fakes = game.generate(len(given), labels).images if way == "there" else makers.back(given, [])
        if self.older.networks is None:
            return fakes
        again = (game.randomness.uniform(1, 1, 1) < 0.5) & self.older.known
        return torch.where(again, getattr(self.older.networks, way)(given, []), fakes)


class Older(nn.Module):
    """The generators as they were at most `images` images ago; none for 0.

    make: makes networks of their kind, whose weights do not count. known: whether there are older weights
    yet.
    """

    since: Tensor
    known: Tensor

    def __init__(self, make: Callable[[], nn.Module], images: int) -> None:
        super().__init__()
        self.images = images
        self.networks = None
        if images:
            with torch.device("meta"):  # so that no random number is drawn
                self.networks = make()
            self.networks.to_empty(device="cpu").requires_grad_(False)
            for value in self.networks.state_dict().values():
                value.zero_()
        self.register_buffer("since", torch.tensor(images))
        self.register_buffer("known", torch.tensor(False))

    @torch.no_grad()
    def observe(self, generator: nn.Module, images: int) -> None:
        """Takes the generators of now, once the older ones are old enough."""
        if self.networks is None:
            return
        self.since += images
        renew = self.since >= self.images
        ours, theirs = self.networks.state_dict(), generator.state_dict()
        for name, value in ours.items():
            value.copy_(torch.where(renew, theirs[name].to(value.dtype), value))
        self.since.copy_(torch.where(renew, torch.zeros_like(self.since), self.since))
        self.known.logical_or_(renew)


class CycleGAN:
    """Implements contracts.Family for images whose sides the generators can halve. Labels are ignored.

    The first set is translated into the second, by `generate`, `translate` and in evaluation; with `--back`,
    the second into the first.
    """

    codec = PIXELS

    def __init__(
        self,
        config: CycleGANConfig,
        spec: ImageSpec,
        *,
        batch_size: int,
        low_precision: torch.dtype | None = None,
    ) -> None:
        """Raises UserError for images or a precision that the family cannot use."""
        _check(config, spec, low_precision)
        self.config, self.spec = config, replace(spec, classes=0)
        self.fixtures: Mapping[str, nn.Module] = {}
        self.needs = Needs(second=True)
        self.older = Older(self._generator, config.pool_images)
        self.memory: nn.Module = self.older
        rule = AdamRule(config.adam_beta1, config.adam_beta2, config.adam_eps)
        self.optimizers: Mapping[Net, Rule] = {"generator": rule, "discriminator": rule}
        once: Mapping[Net, float] = {"generator": 1.0, "discriminator": 1.0}
        self.schedule: Schedule = DecayingSchedule(config, spec.height, batch_size, batch_size, once)
        loss = ADVERSARIAL[config.loss]
        self.phases: tuple[Phase, ...] = (
            Phase("generator", "generator", CycleTurn(config, loss)),
            Phase("discriminator", "discriminator", JudgingBoth(loss, self.older)),
        )

    def networks(self) -> Networks:
        discriminators = (
            Patches(
                self.spec.channels,
                self.config.discriminator_channels,
                self.config.discriminator_layers,
                affine=False,
            )
            for _ in range(2)
        )
        return Networks(self._generator(), Ways(*discriminators))

    def _generator(self) -> Translators:
        config, channels = self.config, self.spec.channels
        size = config.generator_channels, config.halvings, config.blocks
        return Translators(*(ResNet(channels, channels, *size) for _ in range(2)))

    def game(
        self, networks: Networks, stage: Stage, randomness: Randomness, reals: Batch | None = None
    ) -> Game:
        return CycleGame(networks, stage, randomness, alone=True, reals=reals)

    def check_batch(self, images: int) -> None: ...

    def observe(self, networks: Networks, stats: Mapping[str, Tensor], images: int) -> None:
        self.older.observe(networks.generator, images)

    def figures(self) -> Mapping[str, Tensor]:
        return {}

    def sampler(self, generator: nn.Module, stage: Stage | None = None) -> Sampler:
        made: Any = generator
        return CycleSampler(made, self.config.name, SetGiven(self.spec.channels), self.spec)


class CycleSampler(TranslationSampler):
    """Translates images of the first set. `back` translates those of the second."""

    def back(self) -> TranslationSampler:
        """Returns the translator of the other direction."""
        ways: Any = self.generator
        return TranslationSampler(ways.back, self._kind, self._giving, self._spec)


def _apart(made: Tensor, wanted: Tensor) -> Tensor:
    return (made - wanted).abs().flatten(1).mean(dim=1)


def _check(config: CycleGANConfig, spec: ImageSpec, low_precision: torch.dtype | None) -> None:
    size = f"{spec.height}x{spec.width} (height x width)"
    refuse_low_precision(config, low_precision)
    divisor, least = 1 << config.halvings, least_side(config.discriminator_layers)
    if spec.height % divisor or spec.width % divisor:
        raise UserError(
            f"family.halvings={config.halvings}: images of {size} cannot be halved so often; allowed: sides "
            f"that are multiples of {divisor}"
        )
    if min(spec.height, spec.width) < least:
        raise UserError(
            f"family.discriminator_layers={config.discriminator_layers}: images of {size} are too small for "
            f"it; allowed: {least} pixels a side and more"
        )
