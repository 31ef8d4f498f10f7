"""ProGAN's generator (Karras et al. 2018, table 2), which holds all levels and runs those grown so far."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import ops
from pipeline.contracts import Scalar
from pipeline.models.layers import Conv2d, one_hot
from pipeline.models.progan.layers import GrownBlock, HeConv2d, LatentToImage, doubled, faded, is_whole
from pipeline.models.progan.shape import LOWEST, Shape, level_of


class FirstBlock(GrownBlock):
    """Maps latents and labels, concatenated as [N, inputs], to features [N, C, 4, 4]."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.width(LOWEST)
        self.dense = LatentToImage(shape.config.z_dim + shape.classes, width, LOWEST)
        self.conv = HeConv2d(width, width, 3)
        self.dtype = shape.dtype(LOWEST)

    def compute(self, z: Tensor, *, exact: bool = False) -> Tensor:
        x = ops.pixel_norm(self.dense(ops.pixel_norm(z)))
        return ops.pixel_norm(self.conv(ops.arranged(x, torch.float32 if exact else self.dtype)))


class GeneratorBlock(GrownBlock):
    """Doubles the resolution: [N, Cin, H, W] -> [N, Cout, 2H, 2W]."""

    def __init__(self, shape: Shape, resolution: int) -> None:
        super().__init__()
        width = shape.width(resolution)
        self.conv0 = HeConv2d(shape.width(resolution // 2), width, 3, resample="up")
        self.conv1 = HeConv2d(width, width, 3)
        self.dtype = shape.dtype(resolution)

    def compute(self, x: Tensor, *, exact: bool = False) -> Tensor:
        x = ops.pixel_norm(self.conv0(ops.arranged(x, torch.float32 if exact else self.dtype)))
        return ops.pixel_norm(self.conv1(x))


class Generator(nn.Module):
    """Makes images of any level from z and labels."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.z_dim, self.classes, self.resolution = shape.config.z_dim, shape.classes, shape.resolution
        self.first = FirstBlock(shape)
        # Lowest resolution first, so that a block has the same name in networks for larger images.
        self.blocks = nn.ModuleList(GeneratorBlock(shape, r) for r in shape.resolutions[1:])
        self.to_image = nn.ModuleList(Conv2d(shape.width(r), shape.channels, 1) for r in shape.resolutions)

    def forward(
        self,
        z: Tensor,
        labels: Tensor | None = None,
        *,
        resolution: int | None = None,
        fade: Scalar = 1.0,
        exact: bool = False,
    ) -> Tensor:
        """Makes images [N, C, resolution, resolution] float32 in about [-1, 1] from z [N, z_dim] and, if
        conditional, labels [N].

        resolution: None for that of the last level. fade: the weight of the newest level's image; the image
        of the level below has weight 1 - fade (figure 2). exact: whether to compute in float32 throughout.
        """
        return self.decode(self.code(z, labels), resolution=resolution, fade=fade, exact=exact)

    def code(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """Returns z followed by the class as a one-hot vector: [N, z_dim + classes]."""
        if not self.classes:
            return z
        assert labels is not None
        return torch.cat([z, one_hot(labels, self.classes).to(z.dtype)], dim=1)

    def decode(
        self, code: Tensor, *, resolution: int | None = None, fade: Scalar = 1.0, exact: bool = False
    ) -> Tensor:
        """Makes images as `forward` does, from codes that `code` returns or interpolations between them."""
        level = level_of(resolution or self.resolution)
        x = below = self.first(code, exact=exact)
        for block in self.blocks[:level]:
            x, below = block(x, exact=exact), x
        image = self._image(level, x)
        if level and not is_whole(fade):
            image = faded(doubled(self._image(level - 1, below)), image, fade)
        return image

    def _image(self, level: int, x: Tensor) -> Tensor:
        image: Tensor = self.to_image[level](x)
        return image.float()
