"""Quantisation, grids and encoded files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.errors import UserError
from pipeline.images.pictures import compose_grid, to_uint8, write_picture


def test_quantisation_is_the_fields() -> None:
    values = torch.linspace(-1.2, 1.2, 4801, dtype=torch.float64)
    expected = np.clip(np.floor((values.numpy() + 1) * 127.5 + 0.5), 0, 255)
    found = to_uint8(values)
    assert found.dtype == torch.uint8
    # Exact but where float32 falls on the other side of a step.
    assert (found.numpy() != expected).mean() < 1e-3
    assert to_uint8(torch.tensor([-1.0, 0.0, 1.0, 5.0, -5.0])).tolist() == [0, 128, 255, 255, 0]


def test_every_byte_survives_the_way_to_floats_and_back() -> None:
    pixels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(pixels.float() / 127.5 - 1), pixels)


def test_low_precision_is_widened_before_it_is_quantised() -> None:
    image = torch.tensor([0.1, -0.7, 0.99]).bfloat16()
    assert torch.equal(to_uint8(image), to_uint8(image.float()))


def test_a_grid_goes_row_by_row_and_is_black_where_images_end() -> None:
    images = torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1).expand(5, 3, 2, 4) + 10
    grid = compose_grid(images, 3)
    assert grid.shape == (4, 12, 3)
    assert grid[0, ::4, 0].tolist() == [10, 11, 12]
    assert grid[2, ::4, 0].tolist() == [13, 14, 0]


def test_a_grid_keeps_each_image_upright() -> None:
    image = torch.rand(2, 3, 5, 4) * 2 - 1
    grid = compose_grid(image, 2)
    np.testing.assert_array_equal(grid[:, 4:], to_uint8(image[1]).permute(1, 2, 0).numpy())


def test_the_file_name_says_the_format(tmp_path: Path) -> None:
    write_picture(tmp_path / "a" / "x.JPG", np.zeros((8, 8, 3), np.uint8))
    with Image.open(tmp_path / "a" / "x.JPG") as picture:
        assert picture.format == "JPEG"
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["x.JPG"]
    with pytest.raises(UserError, match=r"x\.bmp: not a picture's file name; allowed endings: \.png, \.jpg"):
        write_picture(tmp_path / "x.bmp", np.zeros((8, 8, 3), np.uint8))
