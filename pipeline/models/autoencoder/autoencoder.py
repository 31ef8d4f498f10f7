"""The autoencoder of Rombach et al. 2022, whose latents have a smaller size and whatever scale they learn."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ops
from pipeline.errors import UserError
from pipeline.models.autoencoder.layers import Doubling, Halving, Level, Middle, Norm, conv3
from pipeline.models.autoencoder.moments import Moments, certain, moments_of
from pipeline.models.autoencoder.shape import BOUNDED, GROUPS, NORM_GROUPS, Shape, shape_of
from pipeline.models.layers import Compilable


class Autoencoder(nn.Module):
    """Encodes images [N, C, H, W] in [-1, 1] into latents [N, C', H / f, W / f] and decodes them; H and W are
    multiples of f.

    scale: the factor that gives latents of the data a standard deviation of 1 (Rombach et al. 2022, appendix
    G). It is for models of the latents: neither `encode` nor `decode` applies it. log_scale: the logarithm of
    the width of the likelihood (`losses.LIKELIHOODS`), 0-d. learns_scale: whether that is a parameter.
    """

    scale: Tensor
    log_scale: Tensor

    def __init__(self, shape: Shape, *, learns_scale: bool = False) -> None:
        super().__init__()
        self.shape = shape
        self.encoder, self.decoder = Encoder(shape), Decoder(shape)
        self.register_buffer("scale", torch.ones([]))
        if shape.groups != GROUPS:
            self.register_buffer(NORM_GROUPS, torch.tensor(float(shape.groups)))
        if learns_scale:
            self.log_scale = nn.Parameter(torch.zeros([]))
        else:
            self.register_buffer("log_scale", torch.zeros([]))

    def encode(self, images: Tensor, *, exact: bool = False) -> Moments:
        """Returns the distribution of each image's latents."""
        numbers = self.encoder(images, exact=exact)
        return moments_of(numbers) if self.shape.distributions else certain(numbers)

    def decode(self, latents: Tensor, *, exact: bool = False) -> Tensor:
        """Returns images [N, C, H, W]; each depends on its own latents alone."""
        images: Tensor = self.decoder(latents, exact=exact)
        return images


class Encoder(Compilable):
    """[N, C, H, W] -> [N, 2C', H / f, W / f]: the means of the latents, then their log-variances; the latents
    alone if they have none."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        widths, deepest = shape.widths, shape.widths[-1]
        self.first = conv3(shape.image_channels, widths[0])
        self.levels = nn.ModuleList(
            Level(
                inputs, outputs, shape.blocks, shape.groups, Halving(outputs) if i < len(widths) - 1 else None
            )
            for i, (inputs, outputs) in enumerate(pairwise((widths[0], *widths)))
        )
        self.middle = Middle(deepest, shape.groups, attention=shape.attention)
        self.norm = Norm(deepest, shape.groups)
        numbers = shape.latent_channels * (2 if shape.distributions else 1)
        self.last = conv3(deepest, numbers)
        self.moments = nn.Conv2d(numbers, numbers, 1)

    def compute(self, images: Tensor, *, exact: bool = False) -> Tensor:
        x = self.first(ops.arranged(images))
        for level in self.levels:
            x = level(x)
        x = self.last(F.silu(self.norm(self.middle(x))))
        moments: Tensor = self.moments(x)
        return moments


class Decoder(nn.Module):
    """[N, C', H, W] -> [N, C, fH, fW]. The last convolution, with respect to whose weight losses are balanced
    against each other, stands outside of what may be compiled."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.codes = nn.Conv2d(shape.latent_channels, shape.latent_channels, 1)
        self.trunk = DecoderTrunk(shape)
        self.last = conv3(shape.widths[0], shape.image_channels)
        self.is_bounded = shape.bounded
        if shape.bounded:
            self.register_buffer(BOUNDED.split(".")[1], torch.zeros(0))

    def forward(self, latents: Tensor, *, exact: bool = False) -> Tensor:
        images: Tensor = self.last(self.trunk(self.codes(ops.arranged(latents)), exact=exact))
        return torch.tanh(images) if self.is_bounded else images


class DecoderTrunk(Compilable):
    """All of the decoder between its first and its last convolution. Its levels go from coarse to fine."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        widths = shape.widths[::-1]
        self.first = conv3(shape.latent_channels, widths[0])
        self.middle = Middle(widths[0], shape.groups, attention=shape.attention)
        self.levels = nn.ModuleList(
            Level(
                inputs,
                outputs,
                shape.blocks + 1,
                shape.groups,
                Doubling(outputs) if i < len(widths) - 1 else None,
            )
            for i, (inputs, outputs) in enumerate(pairwise((widths[0], *widths)))
        )
        self.norm = Norm(widths[-1], shape.groups)

    def compute(self, codes: Tensor, *, exact: bool = False) -> Tensor:
        x = self.middle(self.first(codes))
        for level in self.levels:
            x = level(x)
        return F.silu(self.norm(x))


def autoencoder_from(tensors: Mapping[str, Tensor]) -> Autoencoder:
    """Returns the autoencoder with these weights, which tell its shape; frozen, for use as a fixture. Raises
    UserError if they are not one's."""
    with torch.device("meta"):
        network = Autoencoder(shape_of(tensors))
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    wrong = next((name for name in {**wanted, **given} if wanted.get(name) != given.get(name)), None)
    if wrong is not None:
        raise UserError(
            f"these are not the weights of an autoencoder: {wrong} has shape {given.get(wrong, 'none')}; "
            f"allowed: {wanted.get(wrong, 'no such tensor')}"
        )
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)
    frozen: Autoencoder = network.eval().requires_grad_(False)
    return frozen
