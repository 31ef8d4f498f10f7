"""Affine transformations of images without aliasing, differentiable any number of times."""

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

_BILINEAR, _BORDER, _ALIGN = 0, 1, True  # torch's codes: interpolation, padding, corners at pixel centres


class Warp(nn.Module):
    """Upsamples images by 2, looks pixels up bilinearly, and downsamples (Karras et al. 2020b, figure 20,
    lines 33-47).

    Both filters are the same orthogonal wavelet, so that the identity returns the image. The image is padded
    by reflection as far as the filters reach; positions further out are folded back into it. For any
    transformation this equals more padding, but it costs no pixels, and the host need not ask the device how
    many are needed.
    """

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", ops.setup_filter(SYM6), persistent=False)
        self.taps = len(SYM6)
        self.margin = self.taps // 4  # how many pixels beyond the border one filter reaches
        # Pixel j lies at place 2j + centre of the upsampled image. sym6 is not symmetric: with its centre of
        # mass, rather than its middle, smooth images stay in place under rotation.
        self.centre = sum(k * tap for k, tap in enumerate(SYM6)) / sum(SYM6)

    def forward(self, images: Tensor, affine: Affine) -> Tensor:
        """Transforms images [N, C, H, W]; the result has the same shape and type."""
        n, c, height, width = images.shape
        # The transformation was drawn at random: it is a constant and gets no gradient.
        with torch.no_grad():
            linear, offset = affine.linear.to(images.dtype), affine.offset.to(images.dtype)
            size, reach = (height, width), self.margin
            grid = ops.warp_grid(linear, offset, size, taps=self.taps, margin=reach, centre=self.centre)
        # As channels of one image, which plain PyTorch filters several times as fast on a CPU.
        fine = self._upsample(images.reshape(1, n * c, height, width))
        fine = look_up(fine.view(n, c, *fine.shape[2:]), grid)
        fine = fine.view(1, n * c, *fine.shape[2:])
        return self._downsample(fine).view(n, c, height, width)

    def _upsample(self, images: Tensor) -> Tensor:
        """Upsamples the image with its margins by 2, from place `_first` on."""
        pad = 2 * self.margin  # the margins themselves, and what the filters reach beyond them
        height, width = images.shape[2:]
        skipped = 2 * pad + self._first  # places of the padded image before the first
        fine = (2 * (height + 2 * self.margin), 2 * (width + 2 * self.margin))
        forth = partial(self._spread, before=skipped, size=fine, gain=4)
        back = partial(self._gather, before=skipped, size=(height + 2 * pad, width + 2 * pad), gain=4)
        return linear_map(reflect_pad(images, pad, pad), forth, back)

    def _downsample(self, images: Tensor) -> Tensor:
        """Downsamples [N, C, 2H - 2 + taps, 2W - 2 + taps] by 2, with the first tap of the first pixel at
        place 0."""
        height, width = images.shape[2:]
        size = ((height - self.taps) // 2 + 1, (width - self.taps) // 2 + 1)
        forth = partial(self._gather, before=0, size=size)
        return linear_map(images, forth, partial(self._spread, before=0, size=(height, width)))

    def _spread(self, images: Tensor, *, before: int, size: tuple[int, int], gain: float = 1) -> Tensor:
        """Computes y[n] = gain * sum over j of kernel[n + before - 2j] x[j] along both axes, for n < size."""
        left = self.taps - 1 - before
        sides = zip(size, images.shape[2:], strict=True)
        down, right = (fine - (2 * coarse + left - self.taps + 1) for fine, coarse in sides)
        return ops.upfirdn2d(images, self.kernel, up=2, padding=(left, right, left, down), gain=gain)

    def _gather(self, images: Tensor, *, before: int, size: tuple[int, int], gain: float = 1) -> Tensor:
        """Computes the adjoint, x[j] = gain * sum over n of kernel[n + before - 2j] y[n], for j < size."""
        sides = zip(size, images.shape[2:], strict=True)
        down, right = (2 * coarse - 2 + self.taps - fine - before for coarse, fine in sides)
        pads = (before, right, before, down)
        return ops.upfirdn2d(images, self.kernel, down=2, padding=pads, flip_filter=True, gain=gain)

    @property
    def _first(self) -> int:
        return first_place(self.margin, self.centre)


def look_up(images: Tensor, grid: Tensor) -> Tensor:
    """Interpolates images [N, C, H, W] bilinearly at grid [N, H', W', 2] (x, y in [-1, 1]): [N, C, H', W'].

    It is differentiable any number of times with respect to the images; the grid is a constant. On CUDA the
    gradient is summed in no fixed order unless deterministic algorithms are asked for.
    """
    like = images.detach().new_zeros(()).expand(images.shape)  # the adjoint needs only the images' shape

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
    """Computes the adjoint of `look_up` as four sums by index, one per corner, which torch can do in a fixed
    order. values: [N, C, H', W']. shape: that of the result, [N, C, H, W]."""
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
