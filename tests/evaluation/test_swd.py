"""Sliced Wasserstein distance against a plain numpy version of the paper's recipe, and its properties."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import torch

from pipeline.evaluation.arithmetic import swd
from pipeline.evaluation.arithmetic.pyramid import laplacian_pyramid, level_sizes
from pipeline.evaluation.arithmetic.swd import Descriptors, PatchCutter, sliced_wasserstein, split_distance
from pipeline.images.pictures import to_uint8
from pipeline.randomness import derive_seed
from tests.evaluation.worlds import smooth_images

TAPS = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256


def blurred(image: np.ndarray, gain: float = 1.0) -> np.ndarray:
    return np.stack([scipy.ndimage.convolve(plane, TAPS * gain, mode="mirror") for plane in image])


def naive_pyramid(image: np.ndarray) -> list[np.ndarray]:
    levels = []
    while (min(image.shape[1:]) + 1) // 2 >= 16:
        coarse = blurred(image)[:, ::2, ::2]
        sparse = np.zeros_like(image)
        sparse[:, ::2, ::2] = coarse
        levels.append(image - blurred(sparse, 4.0))
        image = coarse
    return [*levels, image]


def naive_swd(first: torch.Tensor, second: torch.Tensor, seed: int) -> list[float]:
    sets = [[naive_pyramid(image.numpy().astype(np.float64)) for image in s] for s in (first, second)]
    distances = []
    for number, (height, width) in enumerate(level_sizes(*first.shape[2:])):
        # The same random places and directions, everything else by hand.
        drawn = swd._positions(len(first), (height, width), derive_seed("swd-patches", seed, height, width))
        directions = swd._directions(147, derive_seed("swd", seed, min(height, width))).numpy()
        rows = []
        for pyramids in sets:
            patches = np.array(
                [
                    p[number][:, y : y + 7, x : x + 7]
                    for p, places in zip(pyramids, drawn, strict=True)
                    for y, x in places
                ]
            )
            patches = patches - patches.mean(axis=(0, 2, 3), keepdims=True)
            patches = patches / patches.std(axis=(0, 2, 3), keepdims=True)
            rows.append(patches.reshape(len(patches), -1))
        gaps = [np.abs(np.sort(rows[0] @ d) - np.sort(rows[1] @ d)).mean() for d in directions]
        distances.append(1000 * float(np.mean(gaps)))
    return distances


def pictures(start: int, count: int, size: int = 32, rough: float = 0.0) -> torch.Tensor:
    return to_uint8(smooth_images(range(start, start + count), size, rough=rough))


def gathered(images: torch.Tensor, seed: int = 0, batch: int = 5) -> Descriptors:
    cutter = PatchCutter(len(images), *images.shape[2:], seed)
    descriptors = Descriptors(len(images), *images.shape[1:])
    for at in range(0, len(images), batch):
        descriptors.add(cutter.cut(images[at : at + batch], at))
    return descriptors


@pytest.mark.parametrize("size", [32, 35])
def test_the_pyramid_is_the_naive_one(size: int) -> None:
    images = pictures(0, 2, size).float()
    for number, image in enumerate(images):
        for ours, theirs in zip(laplacian_pyramid(images), naive_pyramid(image.numpy()), strict=True):
            np.testing.assert_allclose(ours[number], theirs, atol=2e-4)


def test_the_distance_is_the_naive_one() -> None:
    first, second = pictures(0, 6), pictures(100, 6, rough=0.1)
    found = sliced_wasserstein(gathered(first, 3), gathered(second, 3), 3)
    assert list(found.levels) == [32, 16]
    assert list(found.levels.values()) == pytest.approx(naive_swd(first, second, 3), rel=1e-4)
    assert found.value == pytest.approx(np.mean(naive_swd(first, second, 3)), rel=1e-4)


def test_equal_sets_are_at_zero_and_the_distance_is_symmetric() -> None:
    first, second = gathered(pictures(0, 8)), gathered(pictures(50, 8))
    assert sliced_wasserstein(first, first, 0).value == 0
    there, back = sliced_wasserstein(first, second, 0), sliced_wasserstein(second, first, 0)
    assert there.value == back.value > 0


def test_it_grows_with_noise() -> None:
    reals = gathered(pictures(0, 16))
    found = [
        sliced_wasserstein(gathered(pictures(0, 16, rough=rough)), reals, 0).value for rough in (0, 0.05, 0.2)
    ]
    assert found == sorted(found)
    assert found[1] > 1


def test_the_batches_do_not_matter() -> None:
    images, other = pictures(0, 9), gathered(pictures(50, 9))
    values = {sliced_wasserstein(gathered(images, batch=batch), other, 0).value for batch in (1, 4, 9)}
    assert len(values) == 1


def test_a_seed_is_an_estimate_of_the_same() -> None:
    first, second = pictures(0, 24), pictures(50, 24, rough=0.2)
    a, b = (sliced_wasserstein(gathered(first, s), gathered(second, s), s).value for s in (0, 1))
    assert a != b
    assert a == pytest.approx(b, rel=0.1)


def test_the_split_is_the_distance_of_the_halves() -> None:
    images = pictures(0, 12)
    found = split_distance(gathered(images), 0).value
    # Not equal: within one set, the second half has patches at places of its own.
    halves = sliced_wasserstein(gathered(images[:6]), gathered(images[6:]), 0).value
    assert found == pytest.approx(halves, rel=0.3)


def test_one_colour_is_no_division_by_zero() -> None:
    flat = torch.full((8, 3, 32, 32), 77, dtype=torch.uint8)
    assert sliced_wasserstein(gathered(flat), gathered(pictures(0, 8)), 0).value > 100
    assert sliced_wasserstein(gathered(flat), gathered(flat), 0).value == 0


def test_sets_of_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="sets differ"):
        sliced_wasserstein(gathered(pictures(0, 4)), gathered(pictures(0, 5)), 0)


@pytest.mark.parametrize(
    ("size", "sides"), [((32, 32), [32, 16]), ((64, 48), [48, 24]), ((16, 16), [16]), ((1024, 1024), 7)]
)
def test_levels_go_down_to_16_pixels(size: tuple[int, int], sides: list[int] | int) -> None:
    found = [min(level) for level in level_sizes(*size)]
    assert found == sides or len(found) == sides
    assert found[-1] >= 16
