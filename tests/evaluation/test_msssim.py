"""MS-SSIM against a plain per-scale version, and its properties."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import torch

from pipeline.evaluation.arithmetic.msssim import EXPONENTS, ms_ssim, pair_similarities, scale_exponents
from pipeline.images.pictures import to_uint8
from tests.evaluation.worlds import smooth_images


def pictures(start: int, count: int, size: int = 64, rough: float = 0.0) -> torch.Tensor:
    return to_uint8(smooth_images(range(start, start + count), size, rough=rough))


def naive_channel(x: np.ndarray, y: np.ndarray) -> float:
    """One channel of one pair by the definition, with scipy's Gaussian."""

    def mean(plane: np.ndarray) -> np.ndarray:
        whole = scipy.ndimage.gaussian_filter(plane, 1.5, truncate=5 / 1.5, mode="constant")
        return whole[5:-5, 5:-5]

    scales = 0
    while scales < 5 and min(x.shape) >> scales >= 11:
        scales += 1
    weights = np.array(EXPONENTS[:scales]) / sum(EXPONENTS[:scales])
    product = 1.0
    for scale, weight in enumerate(weights):
        mx, my = mean(x), mean(y)
        vx, vy, cov = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
        contrast = (2 * cov + 58.5225) / (vx + vy + 58.5225)
        luminance = (2 * mx * my + 6.5025) / (mx**2 + my**2 + 6.5025)
        last = scale == scales - 1
        product *= max((luminance * contrast if last else contrast).mean(), 0) ** weight
        x, y = (p[: p.shape[0] // 2 * 2, : p.shape[1] // 2 * 2] for p in (x, y))
        x, y = (p.reshape(p.shape[0] // 2, 2, p.shape[1] // 2, 2).mean((1, 3)) for p in (x, y))
    return product


@pytest.mark.parametrize("size", [32, 45, 64, 176])
def test_it_is_the_naive_one(size: int) -> None:
    first, second = pictures(0, 3, size), pictures(0, 3, size, rough=0.1)
    expected = [
        np.mean([naive_channel(a.astype(float), b.astype(float)) for a, b in zip(x, y, strict=True)])
        for x, y in zip(first.numpy(), second.numpy(), strict=True)
    ]
    np.testing.assert_allclose(ms_ssim(first, second), expected, rtol=2e-4)


def test_equal_images_have_one_and_noise_lowers_it() -> None:
    first = pictures(0, 4)
    torch.testing.assert_close(ms_ssim(first, first), torch.ones(4))
    values = [float(ms_ssim(first, pictures(0, 4, rough=rough)).mean()) for rough in (0.05, 0.1, 0.4)]
    assert values == sorted(values, reverse=True)
    assert 0 <= values[-1] < 0.9


@pytest.mark.parametrize(
    ("side", "scales"), [(10, 0), (11, 1), (16, 1), (32, 2), (64, 3), (128, 4), (176, 5), (1024, 5)]
)
def test_scales_fit_the_image(side: int, scales: int) -> None:
    found = scale_exponents(side, side + 3)
    assert len(found) == scales
    assert not scales or sum(found) == pytest.approx(1)


def test_pairs_are_neighbours_in_the_stream() -> None:
    images = pictures(0, 9, 32)
    found = pair_similarities(images)
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx(
        [float(ms_ssim(images[i : i + 1], images[i + 1 : i + 2])) for i in (0, 2, 4, 6)], rel=1e-6
    )
