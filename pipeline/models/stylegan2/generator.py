"""StyleGAN2's generator (Karras et al. 2020a, figures 2 and 7)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

import ops
from pipeline.models.layers import Compilable, Conv2d, Linear, ModulatedConv2d, Recomputable, ToImage
from pipeline.models.sides import LOWEST
from pipeline.models.stylegan2.mapping import MappingNetwork
from pipeline.models.stylegan2.shape import Shape

Noise = Sequence[Tensor] | Literal["const", "none"]
"""The noise of a pass: one tensor [N, 1, H, W] for each layer with noise, the stored constants, or none."""


class SynthesisBlock(Recomputable):
    """The layers of one resolution: two modulated convolutions (one at 4px) and, in skip networks and at the
    highest resolution, an image output."""

    resample_filter: Tensor

    def __init__(self, shape: Shape, resolution: int) -> None:
        super().__init__()
        config = shape.config
        width, clamp, size = shape.width(resolution), shape.clamp(resolution), shape.size(resolution)
        self.dtype, self.is_first = shape.dtype(resolution), resolution == LOWEST
        self.residual = config.generator_architecture == "residual" and not self.is_first
        self.convs = nn.ModuleList()
        if self.is_first:
            self.const = nn.Parameter(torch.randn(width, *size))
        else:
            below = shape.width(resolution // 2)
            self.convs.append(
                ModulatedConv2d(below, width, config.w_dim, size, up=2, noise=config.noise, clamp=clamp)
            )
            if self.residual:
                self.skip = Conv2d(below, width, 1, bias=False, up=2)
        self.convs.append(ModulatedConv2d(width, width, config.w_dim, size, noise=config.noise, clamp=clamp))
        top = resolution == shape.resolution
        has_image = top or config.generator_architecture == "skip"
        self.to_image = ToImage(width, shape.channels, config.w_dim, clamp=clamp) if has_image else None
        self.register_buffer("resample_filter", ops.setup_filter([1, 3, 3, 1]), persistent=False)

    def compute(
        self, x: Tensor | None, image: Tensor | None, ws: Tensor, noise: list[Tensor | None], *, exact: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Returns the features and the image at this resolution.

        x: features [N, C, H/2, W/2]; at 4px None, or what takes the place of the constant, [N, C, H, W].
        image: the sum of the image outputs so far, or None. ws: [N, convs + 1, w_dim]. noise: one tensor per
        convolution, or None.
        """
        dtype = torch.float32 if exact else self.dtype
        if x is None:
            x = self.const.expand(ws.shape[0], *self.const.shape)
        x = self._features(ops.arranged(x, dtype), ws, noise)
        if image is not None:
            image = ops.upsample2d(image, self.resample_filter)
        if self.to_image is not None:
            # Images are summed in float32, since the sum over levels is what the discriminator sees.
            shown = self.to_image(x, ws[:, len(self.convs)]).float()
            image = shown if image is None else image + shown
        return x, image

    def _features(self, x: Tensor, ws: Tensor, noise: list[Tensor | None]) -> Tensor:
        if not self.residual:
            for i, conv in enumerate(self.convs):
                x = conv(x, ws[:, i], noise[i])
            return x
        half = math.sqrt(0.5)  # keeps the variance of the sum of two branches
        shortcut: Tensor = self.skip(x, gain=half)
        x = self.convs[0](x, ws[:, 0], noise[0])
        x = self.convs[1](x, ws[:, 1], noise[1], gain=half)
        return shortcut + x


class Synthesis(Compilable):
    """Makes images from the w of each layer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(SynthesisBlock(shape, r) for r in shape.resolutions)
        counts = [1, *[2] * (len(shape.resolutions) - 1)]
        self.counts = counts
        # The image output of a block shares its w with the next block's first layer (figure 7).
        self.layers = sum(counts) + 1
        self.noise_shapes = [
            shape.size(r) for r, count in zip(shape.resolutions, counts, strict=True) for _ in range(count)
        ]

    def compute(
        self, ws: Tensor, noise: Noise = "const", *, begin: Tensor | None = None, exact: bool = False
    ) -> Tensor:
        """Makes images [N, C, H, W] float32 from ws [N, layers, w_dim].

        begin: what to begin with at 4px instead of the learned constant, [N, C, H, W]. exact: whether to
        compute in float32 throughout.
        """
        x = begin
        image: Tensor | None = None
        start = 0
        for block, count in zip(self.blocks, self.counts, strict=True):
            part = self._noise(block, noise, start, count)
            x, image = block(x, image, ws[:, start : start + count + 1], part, exact=exact)
            start += count
        assert image is not None
        return image

    @property
    def const(self) -> Tensor:
        """The learned constant at 4px, [C, H, W]."""
        first = self.blocks[0]
        assert isinstance(first, SynthesisBlock)
        return first.const

    @property
    def convolutions(self) -> list[ModulatedConv2d]:
        """The convolutions, in the order of the w that they take."""
        return [conv for block in self.blocks for conv in block.convs]  # type: ignore[union-attr]

    @property
    def fed(self) -> list[list[Linear]]:
        """For each w, the linear layers that compute styles from it."""
        fed: list[list[Linear]] = [[] for _ in range(self.layers)]
        for place, conv in enumerate(self.convolutions):
            fed[place].append(conv.affine)
        for block, end in zip(self.blocks, itertools.accumulate(self.counts), strict=True):
            if isinstance(block.to_image, ToImage):
                fed[end].append(block.to_image.affine)
        return fed

    @staticmethod
    def _noise(block: nn.Module, noise: Noise, start: int, count: int) -> list[Tensor | None]:
        if noise == "none":
            return [None] * count
        if noise == "const":
            return [conv.noise_const for conv in block.convs]  # type: ignore[union-attr]
        assert not isinstance(noise, str)
        return list(noise[start : start + count])


class Generator(nn.Module):
    """StyleGAN2's generator, a mapping network followed by a synthesis network."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        config = shape.config
        self.z_dim, self.classes = config.z_dim, shape.classes
        self.synthesis = Synthesis(shape)
        self.mapping = MappingNetwork(
            z_dim=config.z_dim,
            classes=shape.classes,
            w_dim=config.w_dim,
            layers=config.mapping_layers,
            rate=config.mapping_rate,
        )

    @property
    def layers(self) -> int:
        """The number of layers that take a w of their own."""
        return self.synthesis.layers

    def forward(
        self,
        z: Tensor,
        labels: Tensor | None = None,
        *,
        truncation: float = 1.0,
        noise: Noise = "const",
        exact: bool = False,
    ) -> Tensor:
        """Makes images [N, C, H, W] float32 from z [N, z_dim] and, if conditional, labels [N].

        truncation: psi, towards w_avg for all classes, as in the authors' code; `StyleGAN2Sampler` truncates
        towards the mean of each class.
        """
        w = self.mapping.truncate(self.mapping(z, labels), truncation)
        ws = w[:, None].expand(-1, self.layers, -1)
        images: Tensor = self.synthesis(ws, noise, exact=exact)
        return images
