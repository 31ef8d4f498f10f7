"""Encoded images of a data set -> uint8 tensors. The header is checked before a pixel is decoded."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torchvision.io
from PIL import Image
from torch import Tensor

from pipeline.contracts import ImageSpec
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.samples import Damage, Encoded
from pipeline.images.pngs import SIGNATURE, lacks_rows

# torchvision's operator decodes JPEG faster than PIL, to the same bits. It means to drop it in favour of
# torchcodec, which needs FFmpeg: where it is gone, PIL takes over. Its Python function around it warns of
# that at every image. Its decode_png is faster, too, but damaged pixels end the process in it (0.29: libpng
# jumps to a frame that is gone), and to inflate them beforehand costs more than PIL does.
_decode_jpeg: Callable[..., Tensor] | None = (
    getattr(torch.ops.image, "decode_jpeg", None) if hasattr(torchvision.io, "decode_jpeg") else None
)
_KEEP_ORIENTATION = False  # what is stored is upright, whatever its EXIF says
_PIL_NAMES = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}

_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class Size(NamedTuple):
    """Pixels, as an image's header states them; `plain`: 8 bits a channel, grey or RGB."""

    width: int
    height: int
    plain: bool


def header_size(image: bytes, extension: str) -> Size:
    """Size from the header of a png, jpg or webp; Damage if it is no such image."""
    if extension == "png":
        return _png_size(image)
    return _jpeg_size(image) if extension == "jpg" else _webp_size(image)


def decode_sample(index: ShardIndex, shard: int, sample: Encoded) -> Tensor:
    """The image of a sample of shard number `shard`, [H, W, C] uint8; Damage that names shard and key."""
    try:
        return decode(sample.image, sample.extension, index.spec)
    except Damage as damage:
        raise Damage(f"{index.root / index.shards[shard].name}: key {sample.key}: {damage}") from damage


def decode(image: bytes, extension: str, spec: ImageSpec) -> Tensor:
    """The image as [H, W, C] uint8, C = spec.channels; Damage unless it has just the size of `spec`."""
    size = header_size(image, extension)
    if (size.height, size.width) != (spec.height, spec.width):
        raise Damage(
            f"its image is {size.width}x{size.height} (width x height), "
            f"the index says {spec.width}x{spec.height}"
        )
    if not size.plain:
        raise Damage("its image is not 8-bit grey or RGB")
    try:
        pixels = _pixels(image, extension, spec.channels)
    except Exception as error:  # decoders raise of every kind on broken files
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise Damage(f"its image cannot be decoded ({reason:.80})") from error
    if pixels.shape != (spec.height, spec.width, spec.channels):
        raise Damage(f"its image decodes to {tuple(pixels.shape)}")
    if extension == "png" and lacks_rows(image, pixels[-1].numpy().tobytes()):
        raise Damage("its image cannot be decoded (its pixels end before the last row)")
    return pixels


def _pixels(image: bytes, extension: str, channels: int) -> Tensor:
    if extension == "jpg" and _decode_jpeg is not None:
        # The operator's modes are numbers of channels: 1 grey, 3 RGB.
        data = torch.frombuffer(bytearray(image), dtype=torch.uint8)
        return _decode_jpeg(data, channels, _KEEP_ORIENTATION).permute(1, 2, 0)
    mode = "L" if channels == 1 else "RGB"
    with Image.open(io.BytesIO(image), formats=[_PIL_NAMES[extension]]) as picture:
        array = np.array(picture if picture.mode == mode else picture.convert(mode))
    return torch.from_numpy(array.reshape(*array.shape[:2], channels))


def _png_size(image: bytes) -> Size:
    if image[:8] != SIGNATURE or image[12:16] != b"IHDR" or len(image) < 33:
        raise Damage("its image is not a PNG")
    width, height = int.from_bytes(image[16:20], "big"), int.from_bytes(image[20:24], "big")
    return Size(width, height, plain=image[24] == 8 and image[25] in (0, 2))


def _jpeg_size(image: bytes) -> Size:
    at = 2
    while image[:2] == b"\xff\xd8" and at + 10 <= len(image) and image[at] == 0xFF:
        marker, length = image[at + 1], int.from_bytes(image[at + 2 : at + 4], "big")
        if marker in _JPEG_FRAMES:
            height = int.from_bytes(image[at + 5 : at + 7], "big")
            width = int.from_bytes(image[at + 7 : at + 9], "big")
            return Size(width, height, plain=image[at + 4] == 8 and image[at + 9] in (1, 3))
        if marker in (0xD9, 0xDA):
            break
        at += 1 if marker == 0xFF else 2 + length  # 0xFF: a fill byte before a marker
    raise Damage("its image is not a JPEG")


def _webp_size(image: bytes) -> Size:
    try:
        with Image.open(io.BytesIO(image), formats=["WEBP"]) as picture:
            return Size(*picture.size, plain=picture.mode in ("RGB", "L"))
    except Exception as error:  # as above
        raise Damage("its image is not a WebP") from error
