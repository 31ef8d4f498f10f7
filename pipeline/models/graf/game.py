"""The game of GRAF's networks, which is played with patches."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from pipeline.contracts import Batch, Fakes, Randomness
from pipeline.models.graf.generator import Generator
from pipeline.models.graf.patches import cut, draw_places
from pipeline.models.graf.schedule import DENSITY_NOISE, LEAST_SCALE
from pipeline.models.plain import PlainGame, labels_for


@dataclass(frozen=True)
class GRAFGame(PlainGame):
    """The game of one micro-batch. What it presents and generates are patches, [N, C, K, K]."""

    def present(self, reals: Batch) -> Batch:
        """Returns a patch of each real."""
        return replace(reals, images=cut(reals.images, self._places(self.randomness)))

    def generate(self, count: int, labels: Tensor | None = None, *, exact: bool = False) -> Fakes:
        """Generates a patch of each of `count` fakes, which have poses of their own."""
        generator, randomness = self._generator, self.randomness.first(count)
        z = randomness.normal(generator.z_dim)
        labels = labels_for(generator.classes, labels, randomness)
        places = self._places(randomness)
        shape = generator.config.patch**2, generator.config.ray_samples
        jitter, noise = randomness.uniform(*shape), None
        if DENSITY_NOISE in self.stage.weights:
            noise = (randomness.normal(*shape) * self.stage.weights[DENSITY_NOISE]).to(z.dtype)
        seen = generator.see(generator.code(z, labels), places, jitter=jitter, noise=noise)
        return Fakes(_as_patches(seen, generator.config.patch), labels, z)

    def _places(self, randomness: Randomness) -> Tensor:
        config = self._generator.config
        return draw_places(randomness, config.patch, self.stage.weights[LEAST_SCALE], config.patch_scale[1])

    @property
    def _generator(self) -> Generator:
        generator = self.networks.generator
        assert isinstance(generator, Generator)
        return generator


def _as_patches(seen: Tensor, side: int) -> Tensor:
    return seen.transpose(1, 2).reshape(len(seen), -1, side, side)
