"""Diversity as multi-scale structural similarity (Wang, Simoncelli and Bovik 2003), averaged over random
pairs of generated images (Odena et al. 2017). 1 means that all images are the same; lower values mean more
diversity.

The paper's five scales need images of at least 176 pixels, so that the 11x11 window fits the coarsest scale.
Smaller images use as many of the first scales as fit (128 pixels: 4, 64: 3, 32: 2, 16: 1), with the paper's
exponents for these scales normalised to sum to 1; every result states the exponents. Only figures at the same
resolution can be compared.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Wang et al. 2003, section 4."""

WINDOW = 11
_SIGMA = 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def scale_exponents(height: int, width: int) -> tuple[float, ...]:
    """The exponents used for images of this size, finest scale first; () if not even one window fits."""
    side, scales = min(height, width), 0
    while scales < len(EXPONENTS) and side >> scales >= WINDOW:
        scales += 1
    total = sum(EXPONENTS[:scales])
    return tuple(exponent / total for exponent in EXPONENTS[:scales])


def ms_ssim(first: Tensor, second: Tensor) -> Tensor:
    """The similarity [N] float32 of uint8 images [N, C, H, W] and [N, C, H, W] (eq. 7).

    Luminance is compared at the coarsest scale, contrast and structure at all scales. Channels are averaged.
    Negative structure counts as 0, since its powers would not be real.
    """
    x, y = first.float(), second.float()
    exponents = scale_exponents(*x.shape[2:])
    product = torch.ones(x.shape[:2], device=x.device)
    for number, exponent in enumerate(exponents):
        luminance, structure = _compare(x, y)
        last = number == len(exponents) - 1
        term = (luminance * structure if last else structure).mean(dim=(2, 3))
        product = product * term.clamp_min(0) ** exponent
        if not last:
            x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
    return product.mean(dim=1)


def _compare(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Maps of luminance l and contrast-structure c s (Wang et al. 2003, eqs. 1-3, with C3 = C2 / 2)."""
    mean_x, mean_y = _window(x), _window(y)
    variance = _window(x * x) + _window(y * y) - mean_x**2 - mean_y**2
    covariance = _window(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    return luminance, (2 * covariance + _C2) / (variance + _C2)


def _window(images: Tensor) -> Tensor:
    """Means under an 11x11 Gaussian window with standard deviation 1.5, at all positions where it fits."""
    channels = images.shape[1]
    place = torch.arange(WINDOW, dtype=torch.float32, device=images.device) - WINDOW // 2
    weights = torch.exp(-(place**2) / (2 * _SIGMA**2))
    across = (weights / weights.sum()).view(1, 1, 1, WINDOW).expand(channels, 1, 1, WINDOW)
    return F.conv2d(F.conv2d(images, across, groups=channels), across.transpose(2, 3), groups=channels)


def pair_similarities(images: Tensor) -> Tensor:
    """The similarities [N // 2] float64, on the CPU, of images (0, 1), (2, 3), ... among uint8 images [N, C,
    H, W]."""
    even = len(images) // 2 * 2
    return ms_ssim(images[0:even:2], images[1:even:2]).double().cpu()
