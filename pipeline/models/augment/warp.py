"""Images seen through affine transformations, without aliasing, differentiable any number of times."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

import ops
from ops.warping import first_place
from pipeline.models.augment.adjoint import linear_map
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
        # Where a pixel comes from was drawn: a constant, which no gradient goes to.
        with torch.no_grad():
            linear, offset = affine.linear.to(images.dtype), affine.offset.to(images.dtype)
            grid = ops.warp_grid(linear, offset, side, taps=self.taps, margin=self.margin, centre=self.centre)
        # As channels of one image: plain PyTorch filters them several times as fast on a CPU.
        fine = self._upsample(images.reshape(1, n * c, side, side))
        fine = look_up(fine.view(n, c, *fine.shape[2:]), grid)
        fine = fine.view(1, n * c, *fine.shape[2:])
        return self._downsample(fine).view(n, c, side, side)

    def _upsample(self, images: Tensor) -> Tensor:
        """Twice the size of the image and its margins: from place `_first` on."""
        pad = 2 * self.margin  # what the margins show, and what their filters see
        side, wide = images.shape[3], images.shape[3] + 2 * pad
        skipped = 2 * pad + self._first  # places of the padded image before the first
        size = 2 * (side + 2 * self.margin)
        forth = partial(self._spread, before=skipped, size=size, gain=4)
        back = partial(self._gather, before=skipped, size=wide, gain=4)
        return linear_map(reflect_pad(images, pad, pad), forth, back)

    def _downsample(self, images: Tensor) -> Tensor:
        """From [N, C, 2S - 2 + taps, ...], the first place seen by the first pixel's first tap."""
        fine, side = images.shape[3], (images.shape[3] - self.taps) // 2 + 1
        return linear_map(
            images, partial(self._gather, before=0, size=side), partial(self._spread, before=0, size=fine)
        )

    def _spread(self, images: Tensor, *, before: int, size: int, gain: float = 1) -> Tensor:
        """y[n] = gain * sum over j of kernel[n + before - 2j] x[j], along both axes, for n < size."""
        left = self.taps - 1 - before
        right = size - (2 * images.shape[3] + left - self.taps + 1)
        return ops.upfirdn2d(images, self.kernel, up=2, padding=(left, right, left, right), gain=gain)

    def _gather(self, images: Tensor, *, before: int, size: int, gain: float = 1) -> Tensor:
        """The adjoint: x[j] = gain * sum over n of kernel[n + before - 2j] y[n], for j < size."""
        right = 2 * size - 2 + self.taps - images.shape[3] - before
        pads = (before, right, before, right)
        return ops.upfirdn2d(images, self.kernel, down=2, padding=pads, flip_filter=True, gain=gain)

    @property
    def _first(self) -> int:
        return first_place(self.margin, self.centre)


def look_up(images: Tensor, grid: Tensor) -> Tensor:
    """Bilinear values of images [N, C, H, W] at grid [N, H', W', 2] (x, y in [-1, 1]): [N, C, H', W'].

    Differentiable any number of times in the images; the grid is a constant. On CUDA torch sums the gradient
    in no fixed order, unless only algorithms that repeat are asked for.
    """
    like = images.detach().new_zeros(()).expand(images.shape)  # the adjoint needs the images' shape alone

    def forth(images: Tensor) -> Tensor:
        y: Tensor = torch.ops.aten.grid_sampler_2d(images, grid, _BILINEAR, _BORDER, _ALIGN)
        return y

    def back(values: Tensor) -> Tensor:
        if values.is_cuda and torch.are_deterministic_algorithms_enabled():
            return spread_in_order(values, grid, like.shape)
        spread: Tensor = torch.ops.aten.grid_sampler_2d_backward(
            values.contiguous(), like, grid, _BILINEAR, _BORDER, _ALIGN, [True, False]
        )[0]
        return spread

    return linear_map(images, forth, back)


def spread_in_order(values: Tensor, grid: Tensor, shape: torch.Size) -> Tensor:
    """The adjoint of `look_up` as four sums by index, one a corner, which torch can make in a fixed order;
    values [N, C, H', W'], to `shape` [N, C, H, W]."""
    n, c, h, w = shape
    x = ((grid[..., 0] + 1) * ((w - 1) / 2)).clamp(0, w - 1).flatten(1)  # [N, H' W']
    y = ((grid[..., 1] + 1) * ((h - 1) / 2)).clamp(0, h - 1).flatten(1)
    left, top = x.floor(), y.floor()
    spread = values.new_zeros(n, c, h * w)
    for dy in (0, 1):
        for dx in (0, 1):
            weight = (1 - (x - left - dx).abs()) * (1 - (y - top - dy).abs())
            # Beyond the border the weight is 0.
            place = (top + dy).clamp(max=h - 1) * w + (left + dx).clamp(max=w - 1)
            index = place.long()[:, None].expand(-1, c, -1)
            spread.scatter_add_(2, index, values.flatten(2) * weight[:, None].to(values.dtype))
    return spread.view(shape)
