"""How BEGAN's networks play: a uniform z, and residuals that vanish; and the sampler of its generator."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from pipeline.contracts import Fakes, Scalar, Stage, Verdict
from pipeline.models.began.networks import Discriminator, Generator
from pipeline.models.plain import PlainGame, PlainSampler
from pipeline.randomness import SampleRandomness

CARRY = "residual"
"""The name of the weight of residuals in `Stage.weights`, which has it while there are any."""


def carry_of(stage: Stage | None) -> Scalar | None:
    """Returns the weight of residuals at a stage; None if there are none, as in a fully trained model."""
    return None if stage is None else stage.weights.get(CARRY)


@dataclass(frozen=True)
class BEGANGame(PlainGame):
    """z is uniform in [-1, 1). Fakes have the labels that they are asked for, which change nothing."""

    def generate(self, count: int, labels: Tensor | None = None, *, exact: bool = False) -> Fakes:
        generator: Generator = self.networks.generator  # type: ignore[assignment]
        z = 2 * self.randomness.first(count).uniform(generator.z_dim) - 1
        return Fakes(generator(z, carry=carry_of(self.stage), exact=exact), labels, z)

    def judge_shown(self, shown: Tensor, labels: Tensor | None, *, exact: bool = False) -> Verdict:
        discriminator: Discriminator = self.networks.discriminator  # type: ignore[assignment]
        verdict: Verdict = discriminator(shown, carry=carry_of(self.stage), exact=exact)
        return verdict


class BEGANSampler(PlainSampler):
    """Draws z uniformly in [-psi, psi), where psi is the truncation (1: as trained). Implements
    latents.LinearSpace and contracts.Converging. carry: the weight of residuals that the generator has learnt
    with; None for 0."""

    def __init__(self, generator: Generator, carry: Scalar | None = None) -> None:
        super().__init__(generator)
        self._decoding, self._carry = generator, carry

    @property
    def convergence(self) -> float | None:
        return float(self._decoding.measure) or None

    def _random(self, randomness: SampleRandomness, truncation: float) -> Tensor:
        return (2 * randomness.uniform(self.generator.z_dim) - 1) * truncation

    def _made(self, codes: Tensor) -> Tensor:
        return self._decoding.decode(codes[:, 0], carry=self._carry, exact=True)


def with_carry(stage: Stage, images_seen: int, residual_images: int) -> Stage:
    """Returns the stage with the weight of residuals, which falls from 1 to 0 over `residual_images` (section
    3.5.1); unchanged once it is 0."""
    if images_seen >= residual_images:
        return stage
    return replace(stage, weights={**stage.weights, CARRY: 1 - images_seen / residual_images})
