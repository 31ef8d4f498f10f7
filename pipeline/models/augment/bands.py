"""Image-space filtering, which amplifies or attenuates each of four frequency bands (Karras et al. 2020b,
appendix B.3)."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.augment.adjoint import linear_map
from pipeline.models.augment.draws import Draws
from pipeline.models.augment.reflect import reflect_pad
from pipeline.models.augment.wavelets import SYM2

UNIFORMS, NORMALS = 4, 4
_GAIN = 1.0  # log2 of a band's gain, standard deviation
_POWER = (10 / 13, 1 / 13, 1 / 13, 1 / 13)  # expected share of a natural image's power in each band


def draw_gains(draws: Draws) -> Tensor:
    """Draws the gains of the bands [0, pi/8], [pi/8, pi/4], [pi/4, pi/2] and [pi/2, pi], [N, 4].

    Each band fires independently. After its gain t ~ Lognormal(0, (ln 2)^2) is applied, all four gains are
    divided by the square root of the expected power, sum of power * gain^2. The powers add up to 1.
    """
    gains, scale = [], torch.ones_like(draws.p)
    for power in _POWER:
        gain = torch.where(draws.fires(), draws.log_normal(_GAIN), 1.0)
        gains.append(gain)
        scale = scale * torch.rsqrt(1 + power * (gain.square() - 1))
    return torch.stack(gains, dim=1) * scale[:, None]


class BandFilter(nn.Module):
    """Filters images with the filter bank."""

    bands: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("bands", filter_bank().float(), persistent=False)

    def forward(self, images: Tensor, gains: Tensor) -> Tensor:
        """Filters images [N, C, H, W] along x and y with gains [N, 4]; gains of 1 change nothing, exactly."""
        taps = (gains @ self.bands).to(images.dtype).repeat_interleave(images.shape[1], dim=0)  # [N * C, 43]
        reach = taps.shape[1] // 2
        n, c, h, w = images.shape
        y = reflect_pad(images, reach, 0).reshape(1, n * c, h, -1)
        y = _convolve(y, taps[:, None, None, :]).view(n, c, h, w)
        y = reflect_pad(y, 0, reach).reshape(1, n * c, -1, w)
        y = _convolve(y, taps[:, None, :, None]).view(n, c, h, w)
        # The filters add up to 1 only up to rounding, so an untouched image is taken as it came.
        untouched = (gains == 1).all(dim=1)
        return torch.where(untouched[:, None, None, None], images, y)


def _convolve(images: Tensor, taps: Tensor) -> Tensor:
    """Filters each channel of images [1, G, H, W] by its own symmetric taps [G, 1, h, w], unpadded."""
    groups, _, h, w = taps.shape
    forth = partial(F.conv2d, weight=taps, groups=groups)
    return linear_map(images, forth, partial(forth, padding=(h - 1, w - 1)))


def filter_bank() -> Tensor:
    """Returns four zero-phase band filters that add up to 1, from low to high, [4, 43] float64.

    With L(z) = H(z) H(1/z) / 2 for sym2 and its mirror image R(z) = L(-z) = 1 - L(z), the bands are
    L(z) L(z^2) L(z^4), L(z) L(z^2) R(z^4), L(z) R(z^2), and R(z).
    """
    h = torch.tensor(SYM2, dtype=torch.float64)
    low = _product(h, h.flip(0)) / 2  # [7]
    high = -low
    high[len(low) // 2] += 1
    wide = _product(low, _spread(low, 2))
    bands = [
        _product(wide, _spread(low, 4)),
        _product(wide, _spread(high, 4)),
        _product(low, _spread(high, 2)),
        high,
    ]
    longest = max(len(band) for band in bands)
    return torch.stack([F.pad(band, ((longest - len(band)) // 2,) * 2) for band in bands])


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Returns the coefficients of the product of two polynomials."""
    return F.conv1d(a[None, None], b.flip(0)[None, None], padding=len(b) - 1)[0, 0]


def _spread(a: Tensor, step: int) -> Tensor:
    """Returns the coefficients of a(z^step)."""
    spread = a.new_zeros((len(a) - 1) * step + 1)
    spread[::step] = a
    return spread
