"""Faster decoders: the pixels and the refusals of PIL, with the library and without it."""

from __future__ import annotations

import io
import json
import random
import struct
import subprocess
import sys
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.images import decoders
from pipeline.images.codec import FORMATS, decode, decode_into
from pipeline.images.decoders import FASTER, decode_faster
from pipeline.images.pixels import Unreadable


def picture(width: int, height: int, mode: str = "RGB", coarse: int = 4) -> Image.Image:
    """Colours that change slowly, with some noise, so that every format has something to compress."""
    y, x = np.mgrid[:height, :width] * coarse
    noise = np.random.default_rng(width).integers(0, 40, (height, width))
    pixels = np.stack([x + noise, y * 2 + noise, x + y], -1) % 256
    return Image.fromarray(pixels.astype(np.uint8)).convert(mode)


def file(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, FORMATS[format].kind.name, **options)
    return buffer.getvalue()


def by_pil(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image).reshape(image.height, image.width, -1)


FILES: dict[str, list[dict[str, Any]]] = {
    "png": [{"compress_level": level} for level in (0, 1, 9)],
    "webp": [{"quality": 90}, {"quality": 30, "method": 6}, {"lossless": True}],
    "jpg": [
        *({"quality": quality, "subsampling": chroma} for quality in (30, 95) for chroma in (0, 1, 2)),
        {"progressive": True},
        {
            "optimize": True,
            "exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0",
        },
    ],
}
INSTALLED = [format for format, faster in FASTER.items() if faster.installed]
CASES = [(format, options) for format in INSTALLED for options in FILES[format]]


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("size", [(64, 48), (33, 17), (1, 1)])
@pytest.mark.parametrize(("format", "options"), CASES)
def test_they_give_pils_pixels(
    format: str, options: dict[str, Any], size: tuple[int, int], mode: str
) -> None:
    if not FORMATS[format].grey and mode == "L":
        return
    data = file(picture(*size, mode), format, **options)
    expected = by_pil(data)
    out = np.full(expected.shape, 77, np.uint8)
    assert decode_faster(format, data, out)
    np.testing.assert_array_equal(out, expected)


def test_a_colour_jpeg_read_as_grey_is_its_brightness_either_way(monkeypatch: pytest.MonkeyPatch) -> None:
    data = file(picture(40, 24), "jpg")
    with Image.open(io.BytesIO(data)) as image:
        image.draft("YCbCr", image.size)  # as it is stored
        assert image.mode == "YCbCr"
        brightness = np.asarray(image)[..., :1]
    np.testing.assert_array_equal(decode(data, "jpg", 1).numpy(), brightness)
    without_libraries(monkeypatch)
    np.testing.assert_array_equal(decode(data, "jpg", 1).numpy(), brightness)


def without_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here to the end of the test nothing but PIL is installed."""
    monkeypatch.setattr(decoders, "_loaded", lambda format: None)


@pytest.mark.parametrize(("format", "options"), CASES)
def test_without_the_library_nothing_but_the_time_changes(
    format: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = file(picture(64, 48), format, **options)
    fast = decode(data, format, 3)
    decoders._loaded.cache_clear()
    monkeypatch.setitem(sys.modules, FASTER[format].module, None)  # what Python raises ImportError for
    assert not decode_faster(format, data, np.empty((48, 64, 3), np.uint8))
    np.testing.assert_array_equal(decode(data, format, 3).numpy(), fast.numpy())
    monkeypatch.undo()
    decoders._loaded.cache_clear()


@pytest.mark.parametrize("format", INSTALLED)
@pytest.mark.parametrize("shape", [(48, 63, 3), (47, 64, 3), (64, 48, 3), (96, 64, 3), (24, 64, 3)])
def test_a_picture_of_another_size_is_refused(format: str, shape: tuple[int, int, int]) -> None:
    data = file(picture(64, 48), format)
    assert not decode_faster(format, data, np.empty(shape, np.uint8))
    with pytest.raises(Unreadable, match=r"to \(48, 64, 3\)"):
        decode_into(np.empty(shape, np.uint8), data, format)


def damaged(data: bytes, format: str, chance: random.Random) -> bytes:
    """A file with bytes that are changed, cut off, left out or added. Half of PNGs have right sums around
    damaged pixels, which a library may believe."""
    if format == "png" and chance.random() < 0.5:
        at = data.index(b"IDAT")
        length = struct.unpack(">I", data[at - 4 : at])[0]
        pixels = _spoilt(data[at + 4 : at + 4 + length], chance)
        if chance.random() < 0.5:
            pixels = zlib.compress(_spoilt(zlib.decompress(data[at + 4 : at + 4 + length]), chance))
        chunk = b"IDAT" + pixels
        head, tail = data[: at - 4], data[at + 8 + length :]
        return head + struct.pack(">I", len(pixels)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + tail
    return _spoilt(data, chance)


def _spoilt(data: bytes, chance: random.Random) -> bytes:
    at, how = chance.randrange(len(data)), chance.randrange(4)
    if how == 0:
        return data[:at] + chance.randbytes(1) + data[at + 1 :]
    if how == 1:
        return data[:at]
    return data[:at] + (chance.randbytes(9) if how == 2 else b"") + data[at + (0 if how == 2 else 50) :]


def outcome(data: bytes, format: str) -> str:
    try:
        return f"pixels {zlib.crc32(decode(data, format, 3).numpy().tobytes())}"
    except Unreadable as reason:
        return f"unreadable: {reason}"


def outcomes() -> None:
    """In a process of its own, which a decoder may end: prints what differs without the libraries."""
    chance = random.Random(0)
    found = {"read": 0, "refused": 0, "different": 0}
    for format, options in CASES:
        data = file(picture(48, 40), format, **options)
        for _ in range(150):
            case = damaged(data, format, chance)
            fast = outcome(case, format)
            loaded, decoders._loaded = decoders._loaded, lambda format: None
            found["different"] += outcome(case, format) != fast
            decoders._loaded = loaded
            found["read" if fast.startswith("pixels") else "refused"] += 1
    print(json.dumps(found))


def test_damage_is_the_same_with_the_library_and_without_and_ends_no_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from tests.images.test_decoders import outcomes; outcomes()"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["different"] == 0
    assert found["read"] > 50
    assert found["refused"] > 50
