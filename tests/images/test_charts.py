"""Charts: where curves, bands and levels lie."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.images.charts import COLORS, Chart, Curve, charts_picture


def inked(picture: np.ndarray, color: str) -> np.ndarray:
    """Rows and columns [N, 2] of the pixels of a color."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return np.argwhere((picture == (red, green, blue)).all(-1))


@pytest.mark.parametrize("logarithmic", ["", "x", "xy"])
def test_a_point_lies_where_its_axes_say(logarithmic):
    """On a line from corner to corner, in the axes' own measure."""
    x = [1.0, 10.0, 100.0] if "x" in logarithmic else [1.0, 50.5, 100.0]
    y = [2.0, 20.0, 200.0] if "y" in logarithmic else [2.0, 101.0, 200.0]
    ink = inked(
        charts_picture([Chart("t", [Curve(list(zip(x, y, strict=True)))], logarithmic=logarithmic)]),
        COLORS[0],
    )
    (first, last), (low, high) = (ink[:, 1].min(), ink[:, 1].max()), (ink[:, 0].max(), ink[:, 0].min())
    share_right = (ink[:, 1] - first) / (last - first)
    share_up = (low - ink[:, 0]) / (low - high)
    np.testing.assert_allclose(share_up, share_right, atol=0.02)


def test_higher_values_are_drawn_higher_and_a_level_between():
    picture = charts_picture(
        [Chart("t", [Curve([(1, 0.0), (2, 0.0)]), Curve([(1, 9.0), (2, 9.0)], COLORS[1])], level=3.0)]
    )
    low, high, level = (inked(picture, color)[:, 0].mean() for color in (COLORS[0], COLORS[1], "#888888"))
    assert high < level < low
    assert (low - level) / (low - high) == pytest.approx(1 / 3, abs=0.02)


def test_a_band_reaches_from_the_least_to_the_largest():
    curve = Curve([(0, 5.0), (1, 5.0)], ranges=[(0.0, 10.0), (0.0, 10.0)])
    picture = charts_picture([Chart("t", [curve])])
    line = inked(picture, COLORS[0])[:, 0].mean()
    shade = picture[int(line) + 10, picture.shape[1] // 3]
    rows = np.argwhere((picture[:, picture.shape[1] // 3] == shade).all(-1))[:, 0]
    assert rows.min() < line < rows.max()
    assert (rows.min() + rows.max()) / 2 == pytest.approx(line, abs=2)


def test_panels_fill_rows_and_one_without_points_says_only_its_title():
    empty, one = Chart("empty", [Curve([])]), Chart("t", [Curve([(1, 1.0)], labels=["1"])])
    single, three = charts_picture([one]), charts_picture([one, empty, one], columns=2)
    height, width = single.shape[0] - 6, single.shape[1]
    assert three.shape == (2 * height + 6, 2 * width, 3)
    assert len(inked(single, COLORS[0])) > 20
    assert not len(inked(three[: height + 6, width:], "#cccccc"))
