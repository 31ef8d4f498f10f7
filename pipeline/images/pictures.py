"""Images as people see them: uint8 pixels, grids, pictures on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.images.codec import FORMATS, Pixels, encode, format_of
from pipeline.storage.atomic import publish_bytes


def to_uint8(images: Tensor) -> Tensor:
    """[-1, 1] floats (any shape and device) as uint8: x * 127.5 + 128, clamped to [0, 255], truncated.

    That is round-half-up of (x + 1) * 127.5, the field's convention since StyleGAN, so that -1 is 0,
    0 is 128 and 1 is 255. Computed in float32 whatever the input's precision.
    """
    return (images.float() * 127.5 + 128).clamp(0, 255).to(torch.uint8)


def from_uint8(pixels: Tensor) -> Tensor:
    """uint8 (any shape and device) as floats in [-1, 1], of which `to_uint8` makes the same."""
    return pixels.float() / 127.5 - 1


def compose_grid(images: Tensor, columns: int) -> Pixels:
    """Images [N, C, H, W], uint8 or floats in [-1, 1], as one picture [rows * H, columns * W, C] uint8.

    Filled row by row; places left over in the last row are black, and transparent where there is alpha.
    """
    if columns < 1:
        raise ValueError(f"columns={columns}: must be at least 1")
    pixels = (images if images.dtype == torch.uint8 else to_uint8(images)).cpu()
    count, channels, height, width = pixels.shape
    rows = -(-count // columns)
    grid = torch.zeros(rows * columns, channels, height, width, dtype=torch.uint8)
    grid[:count] = pixels
    cells = grid.view(rows, columns, channels, height, width).permute(0, 3, 1, 4, 2)
    return cells.reshape(rows * height, columns * width, channels).numpy()


def write_picture(path: Path, pixels: Pixels, quality: int | None = None) -> None:
    """Publishes [H, W, C] uint8 as a png, jpg or webp, by `path`'s ending. A jpg shows RGBA over white, since
    it holds no alpha."""
    format = format_of(path)
    if pixels.shape[-1] == 4 and not FORMATS[format].alpha:
        pixels = over_white(pixels)
    publish_bytes(path, encode(pixels, format, quality))


def over_white(pixels: Pixels) -> Pixels:
    """RGBA [H, W, 4] uint8 as RGB over white."""
    alpha = pixels[..., 3:].astype(np.uint16)
    shown: Pixels = ((pixels[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return shown
