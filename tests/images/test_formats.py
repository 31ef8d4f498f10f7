"""Every kind of file and of pixels that people bring, against arithmetic on what was put in."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from pipeline.images.normalised import read_picture, size_of
from pipeline.images.pixels import Reading, Unreadable
from tests.data.feeds import file

HEIGHT, WIDTH = 6, 9
Array = npt.NDArray[Any]
rng = np.random.default_rng(0)
RGB = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
DEEP = rng.integers(0, 65536, (HEIGHT, WIDTH, 4), np.uint16)
DEEP[0, 0] = 0


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(values: Array, colour_type: int, extra: bytes = b"") -> bytes:
    """Values [H, W] or [H, W, C], of 8 or 16 bits as their type says."""
    rows = b"".join(b"\0" + row.astype(row.dtype.newbyteorder(">")).tobytes() for row in values)
    depth = 8 * values.dtype.itemsize
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], depth, colour_type, 0, 0, 0)
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def transparent(*values: int) -> bytes:
    return chunk(b"tRNS", struct.pack(f">{len(values)}H", *values))


def tiff(values: Array, *, orientation: int = 1, packed: bool = False) -> bytes:
    """Values [H, W, C] of 8 or 16 bits as one strip, deflated or not; a fourth channel is alpha."""
    height, width, channels = values.shape
    pixels = values.astype(values.dtype.newbyteorder("<")).tobytes()
    pixels = zlib.compress(pixels) if packed else pixels
    bits = struct.pack(f"<{channels}H", *[8 * values.dtype.itemsize] * channels)
    at = 8 + len(bits)
    photometric = 2 if channels > 2 else 1
    entries = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, channels, 8),
        (259, 3, 1, 8 if packed else 1),
    ]
    entries += [(262, 3, 1, photometric), (273, 4, 1, at), (274, 3, 1, orientation)]
    entries += [(277, 3, 1, channels), (278, 4, 1, height), (279, 4, 1, len(pixels))]
    if channels == 1:
        entries[2] = (258, 3, 1, 8 * values.dtype.itemsize)
    if channels == 4:
        entries.append((338, 3, 1, 2))
    table = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<I", at + len(pixels)) + bits + pixels + table + bytes(4)


def to_eight(values: Array, low: float = 0, high: float = 65535) -> Array:
    """255 (v - low) / (high - low), to the nearest, in whole numbers where both are."""
    share = (np.clip(values.astype(np.float64), low, high) - low) / (high - low)
    return np.floor(share * 255 + 0.5)


def over_white(colours: Array, alpha: Array) -> Array:
    share = alpha.astype(np.float64)[..., None] / 255
    return colours * share + 255 * (1 - share)


def grey(values: Array) -> Array:
    return np.repeat(values[..., None], 3, -1)


_KEY = (DEEP == 0)[..., :3].all(-1)
_BLANK = np.where(_KEY, 0, 255)
_numbers = RGB[..., 0] // 16
_palette = Image.frombytes("P", (WIDTH, HEIGHT), _numbers.tobytes())
_palette.putpalette([n * 7 % 256 for n in range(48)])
_shades = np.array([n * 7 % 256 for n in range(48)]).reshape(16, 3)[_numbers]
_la = np.stack([RGB[..., 0], RGB[..., 1]], -1)
_rgba = np.dstack([RGB, RGB[..., 0]])
_bits = RGB[..., 0] > 127
_first, _other = Image.fromarray(RGB), Image.new("RGB", (WIDTH, HEIGHT), "lime")


def _netpbm(magic: str, values: Array, most: int) -> bytes:
    head = f"{magic} # by hand\n{WIDTH}\n# and a line\n{HEIGHT} {most}\n".encode()
    return head + values.astype(">u2" if most > 255 else "u1").tobytes()


# name -> (file, pixels [H, W, 3], worst difference)
PIXELS: dict[str, tuple[bytes, Array, float]] = {
    "png of 8 bits": (png(RGB, 2), RGB, 0),
    "png, grey, 8 bits": (png(RGB[..., 0], 0), grey(RGB[..., 0]), 0),
    "png, grey, 16 bits": (png(DEEP[..., 0], 0), grey(to_eight(DEEP[..., 0])), 0),
    "png, colours, 16 bits": (png(DEEP[..., :3], 2), to_eight(DEEP[..., :3]), 0),
    "png, grey and alpha, 8 bits": (png(_la, 4), over_white(grey(_la[..., 0]), _la[..., 1]), 1),
    "png, grey and alpha, 16 bits": (
        png(DEEP[..., 2:], 4), over_white(grey(to_eight(DEEP[..., 2])), to_eight(DEEP[..., 3])), 1,
    ),
    "png, RGBA, 8 bits": (png(_rgba, 6), over_white(RGB, _rgba[..., 3]), 1),
    "png, RGBA, 16 bits": (png(DEEP, 6), over_white(to_eight(DEEP[..., :3]), to_eight(DEEP[..., 3])), 1),
    "png, one transparent grey, 8 bits": (
        png(RGB[..., 0], 0, transparent(int(RGB[0, 0, 0]))),
        over_white(grey(RGB[..., 0]), np.where(RGB[..., 0] == RGB[0, 0, 0], 0, 255)), 0,
    ),
    "png, one transparent grey, 16 bits": (
        png(DEEP[..., 0], 0, transparent(0)), over_white(grey(to_eight(DEEP[..., 0])), _BLANK), 0,
    ),
    "png, one transparent colour, 8 bits": (
        png(RGB, 2, transparent(*map(int, RGB[0, 0]))),
        over_white(RGB, np.where((RGB[0, 0] == RGB).all(-1), 0, 255)), 0,
    ),
    "png, one transparent colour, 16 bits": (
        png(DEEP[..., :3], 2, transparent(0, 0, 0)), over_white(to_eight(DEEP[..., :3]), _BLANK), 0,
    ),
    "png, palette": (file(_palette), _shades, 0),
    "png, palette with alpha": (
        file(_palette, transparency=bytes([0, 255, 128] * 5)),
        over_white(_shades, np.array([*[0, 255, 128] * 5, 255])[_numbers]), 1,
    ),
    "png of 1 bit": (file(Image.fromarray(_bits)), grey(_bits * 255), 0),
    "tiff, grey, 16 bits": (tiff(DEEP[..., :1]), grey(to_eight(DEEP[..., 0])), 0),
    "tiff, grey, 16 bits, deflated": (tiff(DEEP[..., :1], packed=True), grey(to_eight(DEEP[..., 0])), 0),
    "tiff, colours, 16 bits": (tiff(DEEP[..., :3]), to_eight(DEEP[..., :3]), 0),
    "tiff, colours, 16 bits, deflated": (tiff(DEEP[..., :3], packed=True), to_eight(DEEP[..., :3]), 0),
    "tiff, RGBA, 16 bits": (
        tiff(DEEP, packed=True), over_white(to_eight(DEEP[..., :3]), to_eight(DEEP[..., 3])), 1,
    ),
    "tiff in tiles": (
        file(_first, "TIFF", tiffinfo={322: 16, 323: 16}, compression="tiff_adobe_deflate"), RGB, 0,
    ),
    "tiff of several pages": (file(_first, "TIFF", save_all=True, append_images=[_other]), RGB, 0),
    "tiff of 1 bit": (file(Image.fromarray(_bits), "TIFF", compression="group4"), grey(_bits * 255), 0),
    "pgm of 16 bits": (_netpbm("P5", DEEP[..., 0], 65535), grey(to_eight(DEEP[..., 0])), 0),
    "pgm of 12 bits": (_netpbm("P5", DEEP[..., 0] >> 4, 4095), grey(to_eight(DEEP[..., 0] >> 4, 0, 4095)), 0),
    "pgm of 8 bits": (_netpbm("P5", RGB[..., 0], 255), grey(RGB[..., 0]), 0),
    "ppm of 16 bits": (_netpbm("P6", DEEP[..., :3], 65535), to_eight(DEEP[..., :3]), 0),
    "ppm of 10 bits": (_netpbm("P6", DEEP[..., :3] >> 6, 1023), to_eight(DEEP[..., :3] >> 6, 0, 1023), 0),
    "ppm of 8 bits": (_netpbm("P6", RGB, 255), RGB, 0),
    "gif": (file(_palette, "GIF"), _shades, 0),
    "animated png": (file(_first, save_all=True, append_images=[_other]), RGB, 0),
    "animated webp": (file(_first, "WEBP", save_all=True, append_images=[_other], lossless=True), RGB, 0),
}  # fmt: skip


@pytest.mark.parametrize("case", list(PIXELS))
def test_pixels(case: str) -> None:
    data, expected, worst = PIXELS[case]
    got = np.asarray(read_picture(data).image.convert("RGB"), np.float64)
    assert np.abs(got - expected).max() <= worst
    assert size_of(data) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("case", list(PIXELS))
def test_alpha_is_kept(case: str) -> None:
    data, expected, worst = PIXELS[case]
    kept = read_picture(data, Reading(alpha=True))
    assert kept.image.mode == "RGBA"
    rgba = np.asarray(kept.image, np.float64)
    assert np.abs(over_white(rgba[..., :3], rgba[..., 3]) - expected).max() <= worst
    assert ("alpha" in kept.remarks) == (rgba[..., 3].min() < 255)
    assert "transparent" not in kept.remarks


def test_a_range_is_of_the_numbers_in_the_file() -> None:
    values, bounds = DEEP[..., :3] >> 6, (200.0, 800.0)
    for magic, part in (("P5", values[..., 0]), ("P6", values)):
        made = read_picture(_netpbm(magic, part, 1023), Reading(range=bounds))
        np.testing.assert_array_equal(np.asarray(made.image), to_eight(part, *bounds))
        assert made.values == (part.min(), part.max())


def test_more_frames_are_remarked() -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    for kind in ("PNG", "GIF", "WEBP", "TIFF", "AVIF", "HEIF"):
        large = [picture.resize((64, 64)) for picture in (_first, _other)]
        many = file(large[0], kind, save_all=True, append_images=large[1:])
        assert "frames" in read_picture(many).remarks, kind
        assert "frames" not in read_picture(file(large[0], kind)).remarks, kind


# EXIF 2.32, tag 0x0112: where the row and the column 0 of the file are when it is upright.
TURNS: dict[int, Callable[[Array], Array]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a[::-1].swapaxes(0, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a[:, ::-1].swapaxes(0, 1),
}


@pytest.mark.parametrize("orientation", list(TURNS))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "deep TIFF", "deep PNG", "LA PNG"])
def test_orientations(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    block = np.kron(RGB, np.ones((8, 8, 1), np.uint8))  # even, for codecs that lose something
    expected: Array = block
    if kind == "deep TIFF":
        data, expected = tiff(DEEP[..., :3], orientation=orientation), to_eight(DEEP[..., :3])
    elif kind == "deep PNG":
        data, expected = png(DEEP[..., :3], 2, chunk(b"eXIf", exif.tobytes()[6:])), to_eight(DEEP[..., :3])
    elif kind == "LA PNG":
        pair = np.dstack([DEEP[..., 0], np.full_like(DEEP[..., 0], 65535)])
        data = png(pair, 4, chunk(b"eXIf", exif.tobytes()[6:]))
        expected = grey(to_eight(DEEP[..., 0]))
    else:
        options = {"WEBP": {"lossless": True}, "PNG": {}, "TIFF": {}}
        lossy = {"quality": 100, "subsampling": "4:4:4"}
        data = file(Image.fromarray(block), kind, exif=exif, **options.get(kind, lossy))
    upright = TURNS[orientation](expected)
    got = np.asarray(read_picture(data).image.convert("RGB"), np.float64)
    assert got.shape == upright.shape
    assert size_of(data) == got.shape[1::-1]
    assert np.abs(got - upright).mean() <= (2.5 if kind in ("JPEG", "AVIF") else 0)


# Four inks: what the printing profile below makes of each corner, as CIE L*a*b* under D50.
def _ink(c: int, m: int, y: int, k: int) -> tuple[float, float, float]:
    lightness = 100 * (1 - k) * (1 - 0.25 * c) * (1 - 0.3 * m) * (1 - 0.05 * y)
    share = 1 - k
    return lightness, share * (-25 * c + 45 * m - 5 * y), share * (-30 * c - 5 * m + 50 * y)


def _printing_profile() -> bytes:
    """ICC.1:2001-04, 6.5.7: an output profile with a lut8 of two places an ink, so that its corners are
    exact."""
    steps = [(c, m, y, k) for c in (0, 1) for m in (0, 1) for y in (0, 1) for k in (0, 1)]
    table = bytes(
        round(value)
        for step in steps
        for value in (lambda l, a, b: (l * 2.55, a + 128, b + 128))(*_ink(*step))  # noqa: E741
    )
    ramp = bytes(range(256))
    identity = b"".join(struct.pack(">i", 65536 * (row == column)) for row in range(3) for column in range(3))
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + identity + ramp * 4 + table + ramp * 3
    xyz = b"XYZ \0\0\0\0" + struct.pack(">iii", 63190, 65536, 54061)
    text = b"x\0"
    desc = (b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(80)).ljust(96, b"\0")
    tags = {b"A2B0": lut, b"A2B1": lut, b"wtpt": xyz, b"desc": desc, b"cprt": b"text\0\0\0\0none\0\0\0\0"}
    at, index, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        index += name + struct.pack(">II", at + len(body), len(content))
        body += content
    head = struct.pack(">I4sI4s4s4s", at + len(body), b"none", 0x02400000, b"prtr", b"CMYK", b"Lab ")
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">iii", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + index + body


def _srgb_of_lab(lightness: float, a: float, b: float) -> Array:
    """CIE 15 and IEC 61966-2-1, with Bradford's matrix from D50."""
    y = (lightness + 16) / 116
    xyz = np.array(
        [v**3 if v > 6 / 29 else 3 * (6 / 29) ** 2 * (v - 4 / 29) for v in (y + a / 500, y, y - b / 200)]
    )
    xyz *= (0.9642, 1.0, 0.8249)
    light = (
        np.linalg.inv([[0.4360, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]]) @ xyz
    )
    light = np.clip(light, 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


INKS = [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (1, 1, 0, 0), (0, 1, 1, 0)]


@pytest.mark.parametrize("inks", INKS)
@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_four_inks_with_a_profile(kind: str, inks: tuple[int, int, int, int]) -> None:
    picture = Image.new("CMYK", (16, 16), tuple(255 * ink for ink in inks))
    options = {"quality": 100} if kind == "JPEG" else {}
    made = read_picture(file(picture, kind, icc_profile=_printing_profile(), **options))
    assert made.remarks == {"converted"}
    got = np.asarray(made.image, np.float64)[8, 8]
    expected = _srgb_of_lab(*_ink(*inks))
    assert np.abs(got - expected).max() <= 4


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_four_inks_without_a_profile(kind: str) -> None:
    for inks in [(0, 0, 0, 0), (255, 0, 0, 0), (0, 200, 0, 0), (0, 0, 0, 255), (30, 60, 90, 120)]:
        picture = Image.new("CMYK", (16, 16), inks)
        got = np.asarray(read_picture(file(picture, kind)).image, np.float64)[8, 8]
        c, m, y, k = (ink / 255 for ink in inks)
        expected = 255 * np.array([(1 - c) * (1 - k), (1 - m) * (1 - k), (1 - y) * (1 - k)])
        assert np.abs(got - expected).max() <= 4, inks


def test_inks_as_luma_and_chroma() -> None:
    """Adobe's YCCK (Adobe Technical Note 5116): the mark says 2, three components are JFIF's YCbCr."""
    inks = (120, 100, 140, 40)
    data = bytearray(file(Image.new("CMYK", (16, 16), inks), "JPEG", quality=100))
    at = data.index(b"Adobe")
    assert data[at + 11] == 0
    data[at + 11] = 2
    luma, blue, red = (255 - ink for ink in inks[:3])
    light = [luma + 1.402 * (red - 128), luma - 0.344136 * (blue - 128) - 0.714136 * (red - 128)]
    light.append(luma + 1.772 * (blue - 128))
    expected = (255 - np.clip(light, 0, 255)) * (1 - inks[3] / 255)
    got = np.asarray(read_picture(bytes(data)).image, np.float64)[8, 8]
    assert np.abs(got - expected).max() <= 4


@pytest.mark.parametrize("side", [9_000, 13_000])
def test_the_limit_of_pixels_is_the_one_that_is_said(side: int) -> None:
    assert size_of(file(Image.new("1", (side, side)))) == (side, side)


def test_more_pixels_are_refused_before_they_are_decoded() -> None:
    header = struct.pack(">IIBBBBB", 16000, 13000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    with pytest.raises(Unreadable, match="more than 178000000 pixels"):
        read_picture(data)
