"""Images as people and files see them: uint8 pixels, grids, encoded bytes, pictures on disk."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from pipeline.errors import UserError
from pipeline.storage.atomic import publish_bytes

Pixels = npt.NDArray[np.uint8]
PictureFormat = Literal["png", "jpg", "webp"]
FORMATS: tuple[PictureFormat, ...] = get_args(PictureFormat)

_PIL_NAMES = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}
_SUFFIXES: dict[str, PictureFormat] = {".png": "png", ".jpg": "jpg", ".jpeg": "jpg", ".webp": "webp"}


def to_uint8(images: Tensor) -> Tensor:
    """[-1, 1] floats (any shape and device) as uint8: x * 127.5 + 128, clamped to [0, 255], truncated.

    That is round-half-up of (x + 1) * 127.5, the field's convention since StyleGAN, so that -1 is 0,
    0 is 128 and 1 is 255. Computed in float32 whatever the input's precision.
    """
    return (images.float() * 127.5 + 128).clamp(0, 255).to(torch.uint8)


def compose_grid(images: Tensor, columns: int) -> Pixels:
    """Images [N, C, H, W], uint8 or floats in [-1, 1], as one picture [rows * H, columns * W, C] uint8.

    Filled row by row; places left over in the last row are black.
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


def encode_picture(pixels: Pixels, kind: PictureFormat, quality: int | None = None) -> bytes:
    """[H, W, C] uint8 (C 1: grey, 3: RGB) as the bytes of an image file; equal input, equal bytes.

    quality: 1..100 for jpg (default 95, colour not subsampled) and webp (default 90; 100 is lossless);
    png is lossless and takes none.
    """
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    buffer = io.BytesIO()
    picture.save(buffer, _PIL_NAMES[kind], **_encoder_options(kind, quality))
    return buffer.getvalue()


def _encoder_options(kind: PictureFormat, quality: int | None) -> dict[str, Any]:
    if kind == "png":
        # zlib's level 1 is several times as fast as its default on photographs, files about 8% larger.
        return {"compress_level": 1}
    if kind == "jpg":
        return {"quality": 95 if quality is None else quality, "subsampling": 0}
    chosen = 90 if quality is None else quality
    return {"lossless": chosen == 100, "quality": 80 if chosen == 100 else chosen}


def is_picture(path: Path) -> bool:
    """Whether a file name is that of a picture that we write."""
    return path.suffix.lower() in _SUFFIXES


def picture_format(path: Path) -> PictureFormat:
    """What a picture's file name says it is. UserError if it is no format we write."""
    kind = _SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise UserError(f"{path}: not a picture's file name; allowed endings: {', '.join(_SUFFIXES)}")
    return kind


def write_picture(path: Path, pixels: Pixels, quality: int | None = None) -> None:
    """Publishes [H, W, C] uint8 as a png, jpg or webp, by `path`'s ending."""
    publish_bytes(path, encode_picture(pixels, picture_format(path), quality))
