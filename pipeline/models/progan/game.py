"""The game of ProGAN's networks at one stage of their growth."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from pipeline.contracts import Batch, Fakes, Verdict
from pipeline.models.plain import PlainGame, labels_for
from pipeline.models.progan.discriminator import Discriminator
from pipeline.models.progan.generator import Generator
from pipeline.models.progan.layers import doubled, faded, halved, is_whole


@dataclass(frozen=True)
class ProGANGame(PlainGame):
    """The game of one micro-batch. Images have the resolution of the stage."""

    def present(self, reals: Batch) -> Batch:
        """Returns the reals, which have the stage's resolution, blurred to the extent that the newest level
        has not faded in (Karras et al. 2018, figure 2)."""
        if is_whole(self.stage.fade):
            return reals
        blurred = doubled(halved(reals.images))
        return replace(reals, images=faded(blurred, reals.images, self.stage.fade))

    def generate(self, count: int, labels: Tensor | None = None, *, exact: bool = False) -> Fakes:
        """Generates fakes; z is standard normal, and labels that are not given are uniform."""
        generator = self.networks.generator
        assert isinstance(generator, Generator)
        randomness = self.randomness.first(count)
        z = randomness.normal(generator.z_dim)
        labels = labels_for(generator.classes, labels, randomness)
        stage = self.stage
        images = generator(z, labels, resolution=stage.resolution, fade=stage.fade, exact=exact)
        return Fakes(images, labels, z)

    def judge_shown(self, shown: Tensor, labels: Tensor | None, *, exact: bool = False) -> Verdict:
        verdict: Verdict = self.networks.discriminator(shown, fade=self.stage.fade, exact=exact)
        return verdict

    def rows(self, count: int) -> int | None:
        discriminator = self.networks.discriminator
        assert isinstance(discriminator, Discriminator)
        return discriminator.head.group
