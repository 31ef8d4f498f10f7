"""The codec of stored pictures: what each format keeps, at which quality, and what its header states."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.errors import UserError
from pipeline.images.codec import FORMATS, NAMES, Pixels, Size, decode, encode, format_of, greys, header_size
from pipeline.images.kinds import KINDS, kind_of
from pipeline.images.pixels import Unreadable


def noise(side: int = 32, channels: int = 3) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (side, side, channels), dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_files_are_what_they_say(name: str, channels: int) -> None:
    pixels = np.tile(np.arange(64, dtype=np.uint8)[None, :, None] * 3, (48, 1, channels))
    data = encode(pixels, name)
    assert data == encode(pixels, name)
    assert data == encode(Image.fromarray(pixels[..., 0] if channels == 1 else pixels), name)
    assert kind_of(data) is FORMATS[name].kind
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.format == {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}[name]
        theirs = np.asarray(picture.convert("L" if channels == 1 else "RGB")).reshape(pixels.shape)
    np.testing.assert_array_equal(decode(data, name, channels).numpy(), theirs)
    assert np.abs(theirs.astype(int) - pixels).mean() < (0.01 if name == "png" else 4)
    assert header_size(data, name) == Size(64, 48, plain=True)


@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3]), st.sampled_from(["fast", "small"]))
def test_png_and_webp_at_100_lose_nothing(height: int, width: int, channels: int, effort: str) -> None:
    pixels = noise(9, channels)[:height, :width]
    for name, quality in (("png", None), ("webp", 100)):
        if channels == 1 and not FORMATS[name].grey:
            continue
        data = encode(np.ascontiguousarray(pixels), name, quality, effort)
        np.testing.assert_array_equal(decode(data, name, channels).numpy(), pixels)


def test_quality_and_effort() -> None:
    pixels = noise()
    for name, usual in (("jpg", 95), ("webp", 90)):
        assert FORMATS[name].quality == usual
        assert encode(pixels, name) == encode(pixels, name, usual)
        assert len(encode(pixels, name, 30)) < len(encode(pixels, name)) / 1.9
        assert encode(pixels, name, 30, "small") == encode(pixels, name, 30, "fast")
    assert encode(pixels, "png", 30) == encode(pixels, "png")
    even = np.kron(noise(16), np.ones((8, 8, 1), np.uint8))
    assert len(encode(even, "png", effort="small")) < len(encode(even, "png", effort="fast"))


def test_a_jpeg_keeps_its_colours_at_full_resolution() -> None:
    with Image.open(io.BytesIO(encode(noise(), "jpg"))) as picture:
        assert [component[1:3] for component in picture.layer] == [(1, 1)] * 3


def test_names_suffixes_and_greys() -> None:
    assert tuple(FORMATS) == NAMES
    assert all(
        format.kind in KINDS and set(format.suffixes) <= set(format.kind.suffixes)
        for format in FORMATS.values()
    )
    assert greys() == "png, jpg"
    assert format_of(Path("a/b.JPEG")) == "jpg"
    with pytest.raises(UserError, match=r"x\.bmp: not a picture\'s file name; allowed endings: \.png, \.jpg"):
        format_of(Path("x.bmp"))


@pytest.mark.parametrize("name", NAMES)
def test_other_bytes_are_unreadable(name: str) -> None:
    data = encode(noise(), name)
    other = encode(noise(), "png" if name == "jpg" else "jpg")
    for read in (lambda: header_size(other, name), lambda: decode(data[: len(data) // 2], name, 3)):
        with pytest.raises(Unreadable):
            read()
