"""Images seen through affine transformations, without aliasing, differentiable any number of times."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

import ops
from pipeline.models.augment.geometry import Affine
from pipeline.models.augment.reflect import reflect_pad
from pipeline.models.augment.wavelets import SYM6

_BILINEAR, _BORDER, _ALIGN = 0, 1, True  # torch's codes: interpolation, padding, corners on pixel centres


class Warp(nn.Module):
    """Upsample twice, look up bilinearly, downsample (Karras et al. 2020b, figure 20, lines 33-47).

    Both filters are one orthogonal wavelet, so that the identity gives the image back. The image is
    padded by reflection as far as the filters see; lookups from further out are folded back into it,
    which is as good as more padding, whatever the transformation, and neither costs pixels nor asks the
    device how many are needed.
    """

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", ops.setup_filter(SYM6), persistent=False)
        self.taps = len(SYM6)
        self.margin = self.taps // 4  # pixels beyond the border that one filter sees
        # Pixel j lies at place 2j + centre of the upsampled image. sym6 is not symmetric: its centre of
        # mass, rather than its middle, keeps smooth images where they are under rotation.
        self.centre = sum(k * tap for k, tap in enumerate(SYM6)) / sum(SYM6)

    def forward(self, images: Tensor, affine: Affine) -> Tensor:
        """images: [N, C, S, S] -> the same, type and all."""
        n, c, side, _ = images.shape
        with torch.no_grad():
            grid = self._grid(affine, side, images.dtype)
        # As channels of one image: plain PyTorch filters them several times as fast on a CPU.
        fine = self._upsample(images.reshape(1, n * c, side, side))
        fine = look_up(fine.view(n, c, *fine.shape[2:]), grid)
        fine = fine.view(1, n * c, *fine.shape[2:])
        return ops.upfirdn2d(fine, self.kernel, down=2, flip_filter=True).view(n, c, side, side)

    def _upsample(self, images: Tensor) -> Tensor:
        """Twice the size of the image and its margins: from place `_first` on."""
        pad = 2 * self.margin  # what the margins show, and what their filters see
        side, wide = images.shape[3], images.shape[3] + 2 * pad
        before = self.taps - 1 - 2 * pad - self._first
        after = 2 * (side + 2 * self.margin) - (2 * wide + before - self.taps + 1)
        padded = reflect_pad(images, pad, pad)
        return ops.upfirdn2d(padded, self.kernel, up=2, padding=(before, after, before, after), gain=4)

    @property
    def _first(self) -> int:
        return math.floor(self.centre) - 2 * self.margin

    def _grid(self, affine: Affine, side: int, dtype: torch.dtype) -> Tensor:
        """Where in the upsampled image, as a share of it in [-1, 1], the upsampled result comes from:
        [N, F, F, 2]. F = 2S - 2 + taps, all that the downsampling filter sees."""
        half = (side - 1) / 2
        places = torch.arange(2 * side - 2 + self.taps, device=affine.linear.device)
        places = (places - self.centre) / 2 - half  # [F] centred pixels
        across = affine.linear[:, :, 0, None] * places  # [N, 2, F]
        down = affine.linear[:, :, 1, None] * places + affine.offset[:, :, None]
        grid = across.mT[:, None].to(dtype) + down.mT[:, :, None].to(dtype)  # [N, F, F, 2]
        # A triangle wave of period 2 (S - 1), for all that lies outside the margins.
        folded = half - (torch.remainder(grid + half, 4 * half).sub_(2 * half)).abs_()
        grid = torch.where(grid.abs() <= half + self.margin, grid, folded)
        size = 2 * side + 4 * self.margin
        # place = 2 (x + half) + centre, counted from `_first`; then [0, size - 1] to [-1, 1].
        share = 2 / (size - 1)
        return grid.mul_(2 * share).add_((2 * half + self.centre - self._first) * share - 1)


def look_up(images: Tensor, grid: Tensor) -> Tensor:
    """Bilinear values of images [N, C, H, W] at grid [N, H', W', 2] (x, y in [-1, 1]): [N, C, H', W'].

    Differentiable any number of times in the images; the grid is a constant. On CUDA the gradient is
    summed in no fixed order.
    """
    y: Tensor = _LookUp.apply(images, grid)
    return y


class _LookUp(torch.autograd.Function):
    """torch's own has no second derivative. It is linear in the images: its derivative is its adjoint,
    and the adjoint's is the lookup again."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, grid: Tensor) -> Tensor:
        ctx.save_for_backward(grid)
        ctx.shape = images.shape
        y: Tensor = torch.ops.aten.grid_sampler_2d(images, grid, _BILINEAR, _BORDER, _ALIGN)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (grid,) = ctx.saved_tensors
        return _Spread.apply(gradient, grid, ctx.shape), None


class _Spread(torch.autograd.Function):
    """The adjoint of `_LookUp`: each value is added to the pixels that it would be looked up from."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, grid: Tensor, shape: torch.Size) -> Tensor:
        ctx.save_for_backward(grid)
        like = values.new_zeros(()).expand(shape)  # only its shape matters to the images' gradient
        spread: Tensor = torch.ops.aten.grid_sampler_2d_backward(
            values.contiguous(), like, grid, _BILINEAR, _BORDER, _ALIGN, [True, False]
        )[0]
        return spread

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (grid,) = ctx.saved_tensors
        return _LookUp.apply(gradient, grid), None, None
