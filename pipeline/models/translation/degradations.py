"""How photographs are made worse, at random, to learn how they are made better: blur, resizing, noise and
compression, twice, and ringing (Wang et al. 2021, Real-ESRGAN, section 3 and its published settings).

All of it is made of tensors' operations and of each sample's own random numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.contracts import Randomness
from pipeline.models.translation.resizing import FILTERS, resize_matrices, resized

KERNEL = 21
"""Pixels of a side of the kernels of blur and ringing."""


@dataclass(frozen=True)
class Round:
    """One of the two rounds. blurred: its probability. sigma: of the blur, in pixels. grows, shrinks: the
    probabilities that an image becomes larger or smaller before noise, by a factor of `sizes`. noise: its
    standard deviation, of white 255 and black 0. shots: the strength of Poisson noise, by which its
    deviation of sqrt(value) is multiplied, white being 255. quality: of JPEG."""

    blurred: float
    sigma: tuple[float, float]
    grows: float
    shrinks: float
    sizes: tuple[float, float]
    noise: tuple[float, float]
    shots: tuple[float, float]
    quality: tuple[float, float] = (30, 95)


FIRST = Round(1.0, (0.2, 3.0), 0.2, 0.7, (0.15, 1.5), (1, 30), (0.05, 3))
SECOND = Round(0.8, (0.2, 1.5), 0.3, 0.4, (0.3, 1.2), (1, 25), (0.05, 2.5))
_GAUSSIAN, _GREY, _SINC_AT_END = 0.5, 0.4, 0.8
_SINC_AS_BLUR, _ROUND_KERNEL = 0.1, 0.5


def degraded(images: Tensor, scale: int, randomness: Randomness) -> Tensor:
    """Returns images [N, C, H / scale, W / scale] in [-1, 1], of 256 values a number, made of images
    [N, C, H, W] in [-1, 1]. What is random in each depends on its own random numbers alone.

    The order is that of the paper, of whose two endings this is the one that compresses last.
    """
    height, width = images.shape[2:]
    small = height // scale, width // scale
    whole = _sizes(images, (height, width))
    x, sizes = _through((images + 1) / 2, whole, (height, width), FIRST, randomness)
    x = compressed(x, _between(randomness, FIRST.quality))
    x, sizes = _through(x, sizes, small, SECOND, randomness)
    x = _resized(x, sizes, _sizes(images, small), small, randomness.integers(FILTERS))
    ringing = _chosen(randomness, _SINC_AT_END)[:, None, None]
    x = filtered(x, torch.where(ringing, _sinc(randomness), _nothing(x)))
    x = compressed(x.clamp(0, 1), _between(randomness, SECOND.quality))
    return (x * 255).round() / 127.5 - 1


def _through(
    x: Tensor, sizes: Tensor, towards: tuple[int, int], how: Round, randomness: Randomness
) -> tuple[Tensor, Tensor]:
    """Blurs, resizes and adds noise.

    x: [N, C, H, W], of which each image fills the first `sizes` rows and columns, [N, 2]; what lies beyond
    repeats its last ones. Returns the same of what is made: by a drawn factor larger or smaller than
    `towards`.
    """
    blurred = _chosen(randomness, how.blurred)[:, None, None]
    x = filtered(x, torch.where(blurred, _blur(how, randomness), _nothing(x)))
    way, size = randomness.uniform(), randomness.uniform()
    low, high = how.sizes
    factor = torch.where(way < how.grows + how.shrinks, low + size * (1 - low), torch.ones_like(size))
    factor = torch.where(way < how.grows, 1 + size * (high - 1), factor)
    made = (factor[:, None] * _sizes(x, towards)).round()
    room = math.ceil(high * towards[0]), math.ceil(high * towards[1])
    x = _resized(x, sizes, made, room, randomness.integers(FILTERS))
    return _noisy(x, how, randomness).clamp(0, 1), made


def _sizes(images: Tensor, size: tuple[int, int]) -> Tensor:
    """The same (height, width) for each image, [N, 2]."""
    return torch.stack([images.new_full((len(images),), float(side)) for side in size], dim=1)


def _resized(x: Tensor, sizes: Tensor, made: Tensor, room: tuple[int, int], kinds: Tensor) -> Tensor:
    down, across = (
        resize_matrices(sizes[:, i], made[:, i], x.shape[2 + i], room[i], kinds) for i in range(2)
    )
    return resized(x, down, across)


def _noisy(x: Tensor, how: Round, randomness: Randomness) -> Tensor:
    """Adds normal noise, or noise as of counted photons in its normal approximation; of one value for all
    colours, or of one each."""
    drawn = randomness.normal(*x.shape[1:])
    grey = _chosen(randomness, _GREY)[:, None, None, None]
    drawn = torch.where(grey, drawn[:, :1].expand_as(drawn), drawn)
    sigma = _between(randomness, how.noise)[:, None, None, None] / 255
    shots = _between(randomness, how.shots)[:, None, None, None]
    normal = _chosen(randomness, _GAUSSIAN)[:, None, None, None]
    return x + drawn * torch.where(normal, sigma, shots * (x.clamp(min=0) / 255).sqrt())


def _blur(how: Round, randomness: Randomness) -> Tensor:
    """Kernels [N, KERNEL, KERNEL]: of a normal distribution, round or stretched along a random direction, or
    of a low-pass filter with its ringing."""
    first, second = (_between(randomness, how.sigma) for _ in range(2))
    second = torch.where(_chosen(randomness, _ROUND_KERNEL), first, second)
    angle = randomness.uniform() * math.pi
    y, x = _grid(first)
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    along, across = x * cos + y * sin, y * cos - x * sin
    kernels = (-0.5 * ((along / first[:, None, None]) ** 2 + (across / second[:, None, None]) ** 2)).exp()
    kernels = kernels / kernels.sum(dim=(1, 2), keepdim=True)
    ringing = _chosen(randomness, _SINC_AS_BLUR)[:, None, None]
    return torch.where(ringing, _sinc(randomness), kernels)


def _sinc(randomness: Randomness) -> Tensor:
    """Kernels [N, KERNEL, KERNEL] of circular low-pass filters with a cutoff of pi / 3 to pi:
    cutoff J1(cutoff r) / (2 pi r) (Wang et al. 2021, eq. 6)."""
    cutoff = (_between(randomness, (math.pi / 3, math.pi)))[:, None, None]
    y, x = _grid(cutoff)
    r = (x**2 + y**2).sqrt()
    kernels = torch.where(
        r == 0,
        cutoff**2 / (4 * math.pi),
        cutoff * torch.special.bessel_j1(cutoff * r) / (2 * math.pi * r.clamp(min=1e-6)),
    )
    return kernels / kernels.sum(dim=(1, 2), keepdim=True)


def _grid(like: Tensor) -> tuple[Tensor, Tensor]:
    place = torch.arange(KERNEL, device=like.device, dtype=torch.float32) - KERNEL // 2
    return place[None, :, None], place[None, None, :]


def _nothing(x: Tensor) -> Tensor:
    kernel = x.new_zeros(1, KERNEL, KERNEL)
    kernel[:, KERNEL // 2, KERNEL // 2] = 1
    return kernel


def filtered(images: Tensor, kernels: Tensor) -> Tensor:
    """Returns images [N, C, H, W], each filtered by its own kernel [N, KERNEL, KERNEL]; borders are
    repeated."""
    n, c, h, w = images.shape
    border = KERNEL // 2
    padded = F.pad(images, (border,) * 4, mode="replicate")
    weight = kernels[:, None, None].expand(n, c, 1, KERNEL, KERNEL).reshape(n * c, 1, KERNEL, KERNEL)
    return F.conv2d(padded.reshape(1, n * c, *padded.shape[2:]), weight, groups=n * c).view(n, c, h, w)


def _between(randomness: Randomness, bounds: tuple[float, float]) -> Tensor:
    low, high = bounds
    return low + randomness.uniform() * (high - low)


def _chosen(randomness: Randomness, probability: float) -> Tensor:
    return randomness.uniform() < probability


# ITU-T T.81, tables K.1 and K.2.
_LUMA = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA = (
    *(17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99),
    *(24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99),
    *(99,) * 32,
)
# ITU-T T.871, section 7.
_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_FROM_YCC = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))
_SIDE = 8


@lru_cache
def _constant(values: tuple[Any, ...], device: torch.device) -> Tensor:
    """These numbers on the device, which are brought there once."""
    return torch.from_numpy(np.array(values, dtype=np.float32)).to(device)


def compressed(images: Tensor, quality: Tensor) -> Tensor:
    """Returns images [N, 1 or 3, H, W] in [0, 1] as JPEG of this quality [N], 1 to 100, leaves them: rounded
    coefficients of 8x8 blocks (ITU-T T.81, annex A.3), colours at half of the resolution. Tables are scaled
    and colours enlarged as by the Independent JPEG Group's library."""
    height, width = images.shape[2:]
    padded = F.pad(images, (0, -width % (2 * _SIDE), 0, -height % (2 * _SIDE)), mode="replicate") * 255
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)[:, None, None, None, None]
    if images.shape[1] == 1:
        made = _quantised(padded - 128, _LUMA, scale) + 128
    else:
        matrix = _constant(_TO_YCC, images.device)
        planes = torch.einsum("ij,njhw->nihw", matrix, padded)
        parts = [_quantised(planes[:, :1] - 128, _LUMA, scale) + 128]
        for i in (1, 2):
            small = _quantised(F.avg_pool2d(planes[:, i : i + 1], 2), _CHROMA, scale)
            parts.append(F.interpolate(small, scale_factor=2, mode="bilinear"))
        made = torch.einsum("ij,njhw->nihw", _constant(_FROM_YCC, images.device), torch.cat(parts, dim=1))
    return (made.clamp(0, 255).round() / 255)[..., :height, :width]


def _quantised(plane: Tensor, table: tuple[int, ...], scale: Tensor) -> Tensor:
    steps = _constant(table, plane.device).view(_SIDE, _SIDE)
    steps = ((steps * scale + 50) / 100).floor().clamp(1, 255)
    n, _, h, w = plane.shape
    blocks = plane.view(n, h // _SIDE, _SIDE, w // _SIDE, _SIDE).transpose(2, 3)
    cosines = _cosines(plane)
    coefficients = cosines @ blocks @ cosines.T
    blocks = cosines.T @ ((coefficients / steps).round() * steps) @ cosines
    return blocks.transpose(2, 3).reshape(n, 1, h, w)


def _cosines(like: Tensor) -> Tensor:
    """The matrix of the discrete cosine transform of 8 numbers."""
    k, n = (torch.arange(_SIDE, device=like.device, dtype=like.dtype) for _ in range(2))
    matrix = (math.pi * (2 * n[None] + 1) * k[:, None] / (2 * _SIDE)).cos() / 2
    return torch.cat([matrix[:1] / math.sqrt(2), matrix[1:]])
