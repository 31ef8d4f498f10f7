"""StyleGAN2's discriminator (Karras et al. 2020a, figure 7), with projection for labels."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

import ops
from pipeline.errors import UserError
from pipeline.models.groups import check_groups
from pipeline.models.layers import Compilable, Conv2d, Linear, Recomputable
from pipeline.models.sides import LOWEST
from pipeline.models.stylegan2.mapping import MappingNetwork
from pipeline.models.stylegan2.shape import Shape


class DiscriminatorBlock(Recomputable):
    """Halves the resolution: [N, Cin, H, W] -> [N, Cout, H/2, W/2]."""

    resample_filter: Tensor

    def __init__(self, shape: Shape, resolution: int) -> None:
        super().__init__()
        width, below, clamp = shape.width(resolution), shape.width(resolution // 2), shape.clamp(resolution)
        self.dtype = shape.dtype(resolution)
        self.residual = shape.config.discriminator_architecture == "residual"
        takes_image = resolution == shape.resolution or not self.residual
        self.from_image = Conv2d(shape.channels, width, 1, act="lrelu", clamp=clamp) if takes_image else None
        self.conv0 = Conv2d(width, width, 3, act="lrelu", clamp=clamp)
        self.conv1 = Conv2d(width, below, 3, act="lrelu", down=2, clamp=clamp)
        if self.residual:
            self.skip = Conv2d(width, below, 1, bias=False, down=2)
        self.register_buffer("resample_filter", ops.setup_filter([1, 3, 3, 1]), persistent=False)

    def compute(self, x: Tensor | None, image: Tensor | None, *, exact: bool) -> tuple[Tensor, Tensor | None]:
        """Returns the features and the image at half the resolution.

        x: features, or None in the first block. image: the image at this resolution, or None once a block has
        taken it in.
        """
        dtype = torch.float32 if exact else self.dtype
        x = None if x is None else ops.arranged(x, dtype)
        if self.from_image is not None:
            assert image is not None
            shown = self.from_image(ops.arranged(image, dtype))
            x = shown if x is None else x + shown
            image = None if self.residual else ops.downsample2d(image, self.resample_filter)
        assert x is not None
        if not self.residual:
            return self.conv1(self.conv0(x)), image
        half = math.sqrt(0.5)  # keeps the variance of the sum of two branches
        return self.skip(x, gain=half) + self.conv1(self.conv0(x), gain=half), image


class DiscriminatorHead(nn.Module):
    """The last layers, from 4px on, always in float32: [N, C, *start] -> [N, outputs]."""

    def __init__(self, shape: Shape, outputs: int) -> None:
        super().__init__()
        config, width = shape.config, shape.width(LOWEST)
        self.group, self.channels = config.minibatch_stddev_group, config.minibatch_stddev_channels
        needs_image = config.discriminator_architecture == "skip" or shape.resolution == LOWEST
        self.from_image = Conv2d(shape.channels, width, 1, act="lrelu") if needs_image else None
        clamp = config.clamp if config.clamp_everywhere else None
        self.conv = Conv2d(width + self.channels, width, 3, act="lrelu", clamp=clamp)
        self.dense = Linear(width * math.prod(shape.sides.start), width, act="lrelu")
        self.out = Linear(width, outputs)

    def forward(self, x: Tensor | None, image: Tensor | None) -> Tensor:
        if self.from_image is not None:
            assert image is not None
            shown = self.from_image(ops.arranged(image, torch.float32))
            x = shown if x is None else x.float() + shown
        assert x is not None
        x = x.float()
        if self.channels:
            x = ops.minibatch_stddev(x, self.group, self.channels)
        x = self.dense(self.conv(x).flatten(1))
        y: Tensor = self.out(x)
        return y


class Discriminator(Compilable):
    """Returns logits for images and labels."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.group = shape.config.minibatch_stddev_group if shape.config.minibatch_stddev_channels else 1
        self.resolution, self.channels = shape.resolution, shape.channels
        # Lowest resolution first, so that a block has the same name in networks for larger images.
        self.blocks = nn.ModuleList(DiscriminatorBlock(shape, r) for r in shape.resolutions[1:])
        diffusion = shape.config.diffusion
        self.told = diffusion.mode != "off" and diffusion.told
        projects = self.told or (shape.classes > 0 and shape.config.conditioning == "projection")
        self.classifies = shape.classes if not projects else 0
        self.label_dim = shape.width(LOWEST) if projects else 0
        self.head = DiscriminatorHead(shape, self.label_dim or 1 + self.classifies)
        self.mapping = None
        if projects:
            self.mapping = MappingNetwork(
                z_dim=0,
                classes=shape.classes,
                noise=self.told,
                w_dim=self.label_dim,
                layers=shape.config.label_mapping_layers or shape.config.mapping_layers,
                rate=shape.config.mapping_rate,
                track_average=False,
            )

    def compute(
        self, images: Tensor, labels: Tensor | None = None, *, exact: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Returns logits [N] float32 and, with an auxiliary classifier, class logits [N, classes].

        images: [N, C, H, W] in about [-1, 1]. labels: [N], if the network is conditional. One that is told of
        noise takes [N, 2], labels and steps, or [N, 1], steps alone; without steps, images are clean. exact:
        whether to compute in float32 throughout. Raises UserError if N is not a multiple of the
        minibatch-stddev group.
        """
        check_groups("family.minibatch_stddev_group", self.group, len(images))
        x: Tensor | None = None
        image: Tensor | None = images
        for block in reversed(self.blocks):
            x, image = block(x, image, exact=exact)
        out: Tensor = self.head(x, image)  # [N, label_dim, or 1 and the classes]
        if self.classifies:
            return out[:, 0], out[:, 1:]
        if self.mapping is None:
            return out.squeeze(1)
        # Projection (Miyato and Koyama 2018, eq. 3), scaled to unit variance.
        steps = None
        if self.told:
            labels, steps = _parted(labels, images)
        condition: Tensor = self.mapping(None, labels, steps)
        return (out * condition).sum(dim=1) / math.sqrt(self.label_dim)


def _parted(told: Tensor | None, images: Tensor) -> tuple[Tensor | None, Tensor]:
    """Returns the labels [N] and the steps of noise [N] in what `Discriminator.compute` takes as labels."""
    if told is None or told.ndim == 1:
        return told, torch.zeros(len(images), device=images.device, dtype=torch.int64)
    return None if told.shape[1] == 1 else told[:, 0], told[:, -1]


def freeze(discriminator: Discriminator, layers: int) -> None:
    """Freezes the first `layers` layers, counted from the image (Mo et al. 2020, section 3).

    Raises UserError if the blocks have fewer layers.
    """
    parts = [part for block in reversed(discriminator.blocks) for part in block.children()]
    if layers > len(parts):
        raise UserError(
            f"family.freeze_discriminator={layers}: at {discriminator.resolution} pixels the discriminator's "
            f"blocks have {len(parts)} layers; allowed: 0 to {len(parts)}"
        )
    for part in parts[:layers]:
        part.requires_grad_(False)
