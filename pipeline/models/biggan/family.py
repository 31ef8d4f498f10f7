"""BigGAN as a value: networks, schedule, phases, game, sampler (Brock et al. 2019)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn

from pipeline.config.families import BigGANConfig
from pipeline.contracts import ImageSpec, Networks, Stage
from pipeline.models.biggan.discriminator import Discriminator
from pipeline.models.biggan.generator import Generator
from pipeline.models.biggan.sampler import BigGANSampler
from pipeline.models.biggan.shape import shape_of
from pipeline.models.layers import Spectral
from pipeline.models.plain import PlainFamily

INITIALISATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "orthogonal": nn.init.orthogonal_,
    "normal": lambda weight: nn.init.normal_(weight, std=0.02),
    "xavier": nn.init.xavier_uniform_,
}


class BigGAN(PlainFamily):
    """Implements contracts.Family, for BigGAN and BigGAN-deep.

    batch_size: images per step over all ranks. low_precision: the type of the residual blocks in passes that
    are not exact; the first and last layers are always float32. Raises UserError for images that the family
    cannot make, or for sizes that do not fit them.
    """

    config: BigGANConfig

    def __init__(
        self,
        config: BigGANConfig,
        spec: ImageSpec,
        *,
        batch_size: int,
        low_precision: torch.dtype | None = None,
    ) -> None:
        self.config, self.spec = config, spec
        self.shape = shape_of(config, self.codec.latents(spec), low_precision)
        super().__init__(config, spec, batch_size=batch_size, orthogonal=orthogonal_weights)

    def networks(self) -> Networks:
        """Returns freshly initialised networks in training mode, in which every pass updates the vectors of
        spectral normalisation, whether the network is frozen or not."""
        networks = Networks(Generator(self.shape), Discriminator(self.shape))
        for network in (networks.generator, networks.discriminator):
            initialise(network, self.config.initialisation)
        return networks

    def sampler(self, generator: nn.Module, stage: Stage | None = None) -> BigGANSampler:
        assert isinstance(generator, Generator)
        config = self.config
        return BigGANSampler(generator, config.standing_batches, config.standing_batch_size, self.codec)


def initialise(network: nn.Module, how: str) -> None:
    """Draws the weights of convolutions, linear layers and embeddings anew; biases stay 0."""
    for module in network.modules():
        if isinstance(module, (Spectral, nn.Embedding)):
            INITIALISATIONS[how](module.weight)


def orthogonal_weights(generator: nn.Module) -> Iterator[Tensor]:
    """Returns the weights that orthogonal regularisation applies to: those of all convolutions and linear
    layers."""
    return (module.weight for module in generator.modules() if isinstance(module, Spectral))
