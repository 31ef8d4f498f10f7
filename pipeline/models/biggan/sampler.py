"""Samples from BigGAN with truncated latents and standing statistics (Brock et al. 2019, section 3)."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor

from pipeline.contracts import PIXELS, Codec
from pipeline.errors import UserError
from pipeline.models.biggan.blocks import ConditionalNorm
from pipeline.models.biggan.generator import Generator
from pipeline.models.layers import gather_statistics
from pipeline.models.sampling import LatentSampler
from pipeline.randomness import SampleRandomness, derive_seed

WIDEST = 2.0  # the threshold at psi just below 1, as in the authors' released models


class BigGANSampler(LatentSampler):
    """Draws z from each seed, truncated if asked for, and normalises with standing statistics.

    The statistics are computed before the first image, on a copy of the generator as it is then, over all
    images of `batches` batches of `batch_size` untruncated latents with fixed seeds, so that they depend on
    the weights alone. If `batches` is 0, the running averages of training are used. With truncation psi,
    components of z beyond 2 psi are drawn again until they lie within; 0 thus gives z = 0, and 1 does not
    truncate. Codes are the embedding of the class followed by z. Implements latents.LinearSpace.
    """

    def __init__(self, generator: Generator, batches: int, batch_size: int, codec: Codec = PIXELS) -> None:
        super().__init__(generator, generator.classes, codec)
        self._source, self._batches, self._batch_size = generator, batches, batch_size
        self._ready: Generator | None = None

    def _random(self, randomness: SampleRandomness, truncation: float) -> Tensor:
        if not 0 <= truncation <= 1:
            raise UserError(f"truncation {truncation}: this family truncates latents; allowed: 0 to 1")
        size = self._source.z_dim
        return truncated(randomness.normal(size), randomness.uniform(size), truncation)

    def map(self, z: Tensor, labels: Tensor | None, *, truncation: float = 1.0) -> Tensor:
        return self._source.code(z, labels)[:, None]

    def _made(self, codes: Tensor) -> Tensor:
        return self._generator().decode(codes[:, 0], exact=True)

    @torch.no_grad()
    def code_weights(self) -> list[Tensor]:
        """Returns the weights of the first layer, then those of each block's conditional normalisations."""
        generator, size = self._source, self._source.z_dim
        basis = torch.eye(self.map(*self.latents([0])).shape[-1], device=self.device)
        basis[: len(basis) - size] = 0  # the dimensions of the class's embedding
        first, conditions = generator.inputs(basis)
        weights = [generator.linear.normalised() @ first.T]
        for block, condition in zip(generator.blocks, conditions, strict=True):
            norms = [norm for norm in block.modules() if isinstance(norm, ConditionalNorm)]
            layers = [layer for norm in norms for layer in (norm.gain, norm.bias) if layer is not None]
            if condition is not None:
                weights.append(torch.cat([layer.normalised() @ condition.T for layer in layers]))
        return weights

    def _generator(self) -> Generator:
        if self._ready is None:
            self._ready = copy.deepcopy(self._source).eval().requires_grad_(False)
            gather(self._ready, self._batches, self._batch_size)
        return self._ready


def truncated(z: Tensor, place: Tensor, psi: float) -> Tensor:
    """Returns z with components beyond 2 psi replaced by values from a truncated normal distribution.

    z: standard normal. place: uniform in [0, 1), in the shape of z. Drawing again until |z| <= t gives the
    truncated normal distribution; its inverse distribution function,
    sqrt(2) erfinv((2 place - 1) erf(t / sqrt(2))), gives the same distribution in one step.
    """
    if psi >= 1:
        return z
    limit = WIDEST * psi
    inside = math.erf(limit / math.sqrt(2.0))
    again = math.sqrt(2.0) * torch.erfinv((2 * place - 1) * inside)
    return torch.where(z.abs() <= limit, z, again.clamp(-limit, limit))


def gather(generator: Generator, batches: int, batch_size: int) -> None:
    """Sets the generator's running statistics to those of all images of `batches` batches together."""
    gather_statistics(
        generator,
        batches,
        lambda batch: _pass(generator, range(batch * batch_size, (batch + 1) * batch_size)),
    )


@torch.no_grad()
def _pass(generator: Generator, numbers: range) -> None:
    """Generates the untruncated images of the fixed seeds with these numbers."""
    seeds = [derive_seed("standing", number) for number in numbers]
    device = next(generator.parameters()).device
    randomness = SampleRandomness(seeds, device, source="cpu")
    z = randomness.normal(generator.z_dim)
    labels = randomness.integers(generator.classes) if generator.classes else None
    generator(z, labels, exact=True)
