"""Toy families that use what the contracts offer beyond one logit, one level and pixels: small enough to run
by the hundred, and played by the real loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.config.families import AdaConfig, MLPConfig
from pipeline.contracts import (
    Batch,
    Fakes,
    Game,
    ImageSpec,
    Judge,
    Networks,
    Randomness,
    Stage,
    Verdict,
)
from pipeline.models.augment import Augment
from pipeline.models.layers import GroupBatchNorm
from pipeline.models.mlp import MLP, Generator
from pipeline.models.plain import PlainGame, labels_for
from tests.tiny_families import BATCH, PLAIN, tiny_config
from tests.toy_codec import Folded

WIDTH = 16


class PatchDiscriminator(nn.Module):
    """Patches of 4 pixels at two scales (Wang et al. 2018, section 3.2): heads [N, 9] and [N, 1]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scales = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, WIDTH, 4, 2), nn.LeakyReLU(0.2), nn.Conv2d(WIDTH, 1, 1))
            for _ in range(2)
        )

    def forward(self, images: Tensor, labels: Tensor | None = None, *, exact: bool = False) -> Verdict:
        pyramid = [images, F.avg_pool2d(images, 2)]
        return Verdict([net(x).flatten(1) for net, x in zip(self.scales, pyramid, strict=True)])


class Patches(MLP):
    """Several heads of several logits, with everything that reads logits."""

    heads = 2

    def networks(self) -> Networks:
        return Networks(Generator(self.config, self.spec), PatchDiscriminator(self.spec.channels))


class LevelGenerator(Generator):
    """A level of half the size, which the image adds to."""

    def __init__(self, config: MLPConfig, spec: ImageSpec) -> None:
        super().__init__(config, spec)
        self.coarse = nn.Linear(config.width, spec.channels * spec.height * spec.width // 4)

    def levels(self, code: Tensor) -> tuple[Tensor, Tensor]:
        channels, height, width = self.shape
        x = self.body(code)
        coarse = self.coarse(x).view(-1, channels, height // 2, width // 2)
        doubled = F.interpolate(coarse, scale_factor=2, mode="nearest")
        return torch.tanh(coarse), torch.tanh(self.out(x).view(-1, *self.shape) + doubled)

    def decode(self, code: Tensor, *, exact: bool = False) -> Tensor:
        return self.levels(code)[-1]


class LevelDiscriminator(nn.Module):
    """Sees an image and its half together."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fine = nn.Conv2d(channels, WIDTH, 4, 2, 1)
        self.coarse = nn.Conv2d(channels, WIDTH, 3, 1, 1)
        self.out = nn.Sequential(nn.LeakyReLU(0.2), nn.Flatten(), nn.LazyLinear(1))

    def forward(self, levels: Sequence[Tensor]) -> Verdict:
        coarse, fine = levels
        return Verdict(self.out(self.coarse(coarse) + self.fine(fine)).squeeze(1))


@dataclass(frozen=True)
class LevelGame(PlainGame):
    """Implements contracts.LevelledGame and contracts.ReplayedGame; nothing is augmented."""

    def generate(self, count: int, labels: Tensor | None = None, *, exact: bool = False) -> Fakes:
        generator = self.networks.generator
        assert isinstance(generator, LevelGenerator)
        z = self.randomness.first(count).normal(generator.z_dim)
        labels = labels_for(generator.classes, labels, self.randomness)
        levels = generator.levels(generator.code(z, labels))
        return Fakes(levels[-1], labels, z, levels)

    def levels(self, images: Tensor) -> tuple[Tensor, ...]:
        return F.avg_pool2d(images, 2), images

    def judge_levels(
        self, levels: Sequence[Tensor], labels: Tensor | None, *, exact: bool = False
    ) -> Verdict:
        verdict: Verdict = self.networks.discriminator(levels)
        return verdict

    def judge_shown(self, shown: Tensor, labels: Tensor | None, *, exact: bool = False) -> Verdict:
        return self.judge_levels(self.levels(shown), labels)

    def judge(self, images: Tensor, labels: Tensor | None, *, exact: bool = False) -> Verdict:
        return self.judge_levels(self.levels(images), labels)

    def judge_both(self, fakes: Fakes, reals: Batch, *, exact: bool = False) -> tuple[Verdict, Verdict]:
        return self.judge_both_by((self.judge_levels, self.judge_levels), fakes, reals)

    def draw_judge(self, count: int) -> Judge:
        return self.judge_levels

    def judge_both_by(
        self, judges: tuple[Judge, Judge], fakes: Fakes, reals: Batch, *, exact: bool = False
    ) -> tuple[Verdict, Verdict]:
        of_fakes, of_reals = judges
        return of_fakes(fakes.seen, None), of_reals(self.levels(reals.images), None)


class Levels(MLP):
    """MSG-GAN's way in small: the discriminator sees every level."""

    def networks(self) -> Networks:
        discriminator = LevelDiscriminator(self.spec.channels)
        discriminator(
            (torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 8, 8))
        )  # so that its last layer knows its size
        return Networks(LevelGenerator(self.config, self.spec), discriminator)

    def game(
        self, networks: Networks, stage: Stage, randomness: Randomness, reals: Batch | None = None
    ) -> Game:
        return LevelGame(networks, stage, randomness)


class GroupedGenerator(Generator):
    """Normalises hidden units over groups."""

    def __init__(self, config: MLPConfig, spec: ImageSpec, group: int) -> None:
        super().__init__(config, spec)
        self.norm = GroupBatchNorm(config.width, group)

    def decode(self, code: Tensor, *, exact: bool = False) -> Tensor:
        return torch.tanh(self.out(self.norm(self.body(code)))).view(-1, *self.shape)


class GroupedDiscriminator(nn.Module):
    def __init__(self, channels: int, group: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(channels, WIDTH, 4, 2, 1)
        self.conv1 = nn.Conv2d(WIDTH, WIDTH, 4, 2, 1, bias=False)
        self.norm = GroupBatchNorm(WIDTH, group)
        self.out = nn.Linear(WIDTH * 4, 1)

    def forward(self, images: Tensor, labels: Tensor | None = None, *, exact: bool = False) -> Verdict:
        x = F.leaky_relu(self.conv0(images), 0.2)
        return Verdict(self.out(self.norm(self.conv1(x), act="lrelu").flatten(1)).squeeze(1))


class Groups(MLP):
    """Batch normalisation in both networks, over groups."""

    judges_alone = False
    group = 2

    def networks(self) -> Networks:
        generator = GroupedGenerator(self.config, self.spec, self.group)
        return Networks(generator, GroupedDiscriminator(self.spec.channels, self.group))


class Coded(MLP):
    """Plays in an orthogonal codec's latents."""

    codec = Folded(1)


class Augmented(MLP):
    """An augmentation through which penalties by finite differences look twice."""

    def __init__(self, config: MLPConfig, spec: ImageSpec, **settings: Any) -> None:
        config = config.model_copy(update={"penalty_method": "finite_difference"})
        super().__init__(config, spec, **settings)
        kinds = ("blit", "noise", "cutout")
        self.pipe = Augment(AdaConfig(mode="fixed", kinds=kinds), (spec.height, spec.width), spec.channels)
        self.p = torch.tensor(0.2)

    def game(
        self, networks: Networks, stage: Stage, randomness: Randomness, reals: Batch | None = None
    ) -> Game:
        return PlainGame(networks, stage, randomness, partial(self.pipe.draw, p=self.p), alone=True)


EVERY_TERM: Mapping[str, Any] = {
    "loss": "relativistic",
    "r1_gamma": 0.5,
    "r2_gamma": 0.5,
    "gp_weight": 0.1,
    "gp_every": 2,
    "lecam_weight": 0.1,
    "drift_weight": 0.01,
    "discriminator_repeats": 1,
}
LEARNING: Mapping[str, Any] = {
    "loss": "non_saturating",
    "gp_weight": 0.0,
    "drift_weight": 0.0,
    "r1_gamma": 0.01,
    "discriminator_repeats": 1,
    "generator_rate": 0.01,
    "discriminator_rate": 0.01,
    "ema_half_life_images": 100,
}

TOYS: Mapping[str, Callable[..., MLP]] = {
    "patches": Patches,
    "levels": Levels,
    "groups": Groups,
    "coded": Coded,
    "augmented": Augmented,
}


def toy_family(name: str, spec: ImageSpec = PLAIN, **changes: Any) -> MLP:
    """A toy with every term that it can have, unless `changes` say otherwise."""
    config = tiny_config("mlp", **{**EVERY_TERM, **changes})
    return TOYS[name](config, spec, batch_size=BATCH)
