"""How ProGAN's networks play at one stage of their growth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor

from pipeline.contracts import Batch, Fakes, Networks, Randomness, Stage, Verdict
from pipeline.models.plain import labels_for
from pipeline.models.progan.discriminator import Discriminator
from pipeline.models.progan.generator import Generator
from pipeline.models.progan.layers import doubled, faded, halved, is_whole
from pipeline.models.together import judge_together


@dataclass(frozen=True)
class ProGANGame:
    """One micro-batch's game. Images have the stage's resolution."""

    networks: Networks
    stage: Stage
    randomness: Randomness

    def present(self, reals: Batch) -> Batch:
        """Reals of the stage's resolution, blurred as far as the newest level has not faded in (Karras et al.
        2018, figure 2)."""
        if is_whole(self.stage.fade):
            return reals
        blurred = doubled(halved(reals.images))
        return replace(reals, images=faded(blurred, reals.images, self.stage.fade))

    def generate(self, count: int, labels: Tensor | None = None, *, exact: bool = False) -> Fakes:
        """z is standard normal; labels that are not given are uniform."""
        generator = self.networks.generator
        assert isinstance(generator, Generator)
        randomness = self.randomness.first(count)
        z = randomness.normal(generator.z_dim)
        labels = labels_for(generator.classes, labels, randomness)
        stage = self.stage
        images = generator(z, labels, resolution=stage.resolution, fade=stage.fade, exact=exact)
        return Fakes(images, labels, z)

    def judge(self, images: Tensor, labels: Tensor | None, *, exact: bool = False) -> Verdict:
        discriminator = self.networks.discriminator
        assert isinstance(discriminator, Discriminator)
        verdict: Verdict = discriminator(images, fade=self.stage.fade, exact=exact)
        return verdict

    def judge_both(self, fakes: Fakes, reals: Batch, *, exact: bool = False) -> tuple[Verdict, Verdict]:
        discriminator = self.networks.discriminator
        assert isinstance(discriminator, Discriminator)
        rows = discriminator.head.group
        return judge_together(
            partial(self.judge, exact=exact), (fakes.images, fakes.labels), (reals.images, reals.labels), rows
        )
