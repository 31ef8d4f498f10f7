"""Faces cut out by landmarks: a drawn face comes out where the law says, however it stood before."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipeline.images.alignment import align, align_mask, corners_of, side_of
from pipeline.images.normalised import Target

# A face in units of the distance of its eyes, which are at (-0.5, 0) and (0.5, 0): its mouth is 1 below.
FACE = np.array([[-0.5, 0.0], [0.5, 0.0], [-0.35, 1.0], [0.35, 1.0]])
DOTS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)]
SIDE = 128


def placed(centre: tuple[float, float], size: float, turn: float) -> np.ndarray:
    """The four points in pixels: turned by `turn` degrees, y down, with eyes `size` apart."""
    angle = np.deg2rad(turn)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return FACE @ matrix.T * size + centre


def drawn(points: np.ndarray, shape: tuple[int, int], radius: float) -> Image.Image:
    """Dots at the points, by what part of a pixel they cover: 4 x 4 places a pixel."""
    fine = Image.new("RGB", (shape[0] * 4, shape[1] * 4), (90, 90, 90))
    draw = ImageDraw.Draw(fine)
    for (x, y), colour in zip(points, DOTS, strict=True):
        draw.circle(((x + 0.5) * 4 - 0.5, (y + 0.5) * 4 - 0.5), radius * 4, colour)
    return fine.resize(shape, Image.Resampling.BOX)


def seen(image: Image.Image) -> np.ndarray:
    """The middles of the dots."""
    pixels = np.asarray(image.convert("RGB"), np.float64)
    middles = []
    for colour in DOTS:
        apart = np.abs(pixels - colour).max(-1)
        weight = np.clip(1 - apart / 100, 0, None)
        weight[weight < 0.1] = 0
        y, x = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
        middles.append([(x * weight).sum() / weight.sum(), (y * weight).sum() / weight.sum()])
    return np.array(middles)


def canonical(side: int) -> np.ndarray:
    """Where the points of FACE come to: eyes to mouth is 1, eyes to eyes 1, so the square's half side is
    max(2.0 * 1, 1.8 * 1) = 2, around the eyes' middle and 0.1 of the way to the mouth."""
    share = (FACE - [0, 0.1] + 2) / 4
    return share * side - 0.5


@pytest.mark.parametrize(
    ("centre", "size", "turn"),
    [((200, 200), 50, 0), ((205.3, 190.7), 40, 30), ((190, 200), 45, -75), ((200, 210), 48, 180),
     ((400, 380), 95, 20), ((700, 640), 160, -10)],
)  # fmt: skip
def test_a_face_comes_to_its_place(centre: tuple[float, float], size: float, turn: float) -> None:
    points = placed(centre, size, turn)
    shape = (round(centre[0] * 2), round(centre[1] * 2))
    corners = corners_of(points[:2], points[2:])
    assert side_of(corners) == pytest.approx(4 * size)
    image = align(drawn(points, shape, size / 8), corners, Target(SIDE, SIDE))
    assert image.size == (SIDE, SIDE)
    assert np.abs(seen(image) - canonical(SIDE)).max() < 0.5


def test_pairs_that_are_exchanged_are_put_right() -> None:
    points = placed((100, 100), 30, 40)
    expected = corners_of(points[:2], points[2:])
    for eyes, mouth in [((1, 0), (3, 2)), ((1, 0), (2, 3))]:
        np.testing.assert_allclose(corners_of(points[list(eyes)], points[list(mouth)]), expected)
    many = corners_of(np.stack([points[:2]] * 3), np.stack([points[2:]] * 3))
    np.testing.assert_allclose(many, np.stack([expected] * 3))


def test_a_long_face_is_measured_by_its_length() -> None:
    points = FACE * [20, 60] + 100
    corners = corners_of(points[:2], points[2:])
    assert side_of(corners) == pytest.approx(2 * 1.8 * 60)
    np.testing.assert_allclose(corners.mean(0), [100, 106])


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_beyond_the_edge_is_a_mirror_that_fades(mode: str) -> None:
    points = placed((59.5, 19.5), 20, 0)  # the square begins 18 pixels above the picture
    rng = np.random.default_rng(0)
    stripes = np.repeat(rng.integers(0, 256, (120, 1, 3), np.uint8), 120, 1)
    picture = Image.fromarray(stripes).convert(mode)
    corners = corners_of(points[:2], points[2:])
    image = np.asarray(align(picture, corners, Target(80, 80, filter="box")).convert("L"), np.float64)
    grey = np.asarray(picture.convert("L"), np.float64)
    column = grey[:, 60]  # one pixel is one pixel, but for the blur of drawing it
    inside = (column[19:61] + 6 * column[20:62] + column[21:63]) / 8
    assert np.abs(image[38:80, 40] - inside).max() < 3
    above = image[:18]
    assert above.std(0).mean() < grey.std(0).mean() / 2  # blurred
    assert np.abs(above[0] - np.median(grey)).mean() < 60
    assert (
        np.abs(np.diff(image[:, 40])).max() <= np.abs(np.diff(grey[:, 60])).max()
    )  # no edge where it begins


def test_a_picture_that_holds_the_square_is_not_touched_by_borders() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8)
    corners = np.array([[100, 100], [100, 200], [200, 200], [200, 100]]) - 0.5
    image = np.asarray(align(Image.fromarray(noise), corners, Target(100, 100, filter="box")))
    # Bilinear at four places a pixel and their mean: a blur of 3 x 3 pixels whose weights are closed.
    line = np.array([1, 6, 1]) / 8
    wide = noise[99:201, 99:201].astype(np.float64)
    rows = sum(weight * wide[k : k + 100] for k, weight in enumerate(line))
    expected = sum(weight * rows[:, k : k + 100] for k, weight in enumerate(line))
    assert np.abs(image - expected).max() < 2.5


def test_masks_keep_their_values_and_end_where_the_picture_does() -> None:
    mask = Image.fromarray(np.full((100, 100), 7, np.uint8))
    corners = np.array([[-50, 0], [-50, 100], [50, 100], [50, 0]]) - 0.5
    values = np.asarray(align_mask(mask, corners, Target(50, 50)))
    assert (values[:, :25] == 0).all()
    assert (values[:, 25:] == 7).all()


def test_absurdly_small_pictures_do_not_fail() -> None:
    for size in ((1, 1), (2, 1), (1, 30)):
        points = placed((0.5, 0.5), 40, 10)
        image = align(Image.new("RGB", size, "red"), corners_of(points[:2], points[2:]), Target(16, 16))
        assert image.size == (16, 16)
