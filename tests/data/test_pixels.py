"""What pixels mean: more than 8 bits, colour profiles, transparency."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageCms

from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.reader import read_samples
from pipeline.errors import UserError
from tests.data.feeds import call, file, folder, one, plain, stored


def _shade(values: npt.ArrayLike, low: float, high: float) -> npt.NDArray[np.int64]:
    """By whole numbers: 255 (v - low) / (high - low), to the nearest."""
    v = np.clip(np.asarray(values, np.float64), low, high)
    return np.floor(255 * (v - low) / (high - low) + 0.5).astype(np.int64)


TWELVE = (np.arange(256, dtype=np.uint16) * 16).reshape(16, 16)
HOUNSFIELD = (np.arange(256, dtype=np.int32) * 16 - 1000).reshape(16, 16)
FLOAT = (np.arange(256, dtype=np.float32) / 256).reshape(16, 16)


@pytest.mark.parametrize(
    ("values", "kind", "bounds"),
    [
        (TWELVE, "PNG", (0, 4095)),
        (TWELVE, "TIFF", (1000, 2000)),
        (HOUNSFIELD, "TIFF", (-1000, 3000)),
        (FLOAT, "TIFF", (0, 1)),
        (FLOAT, "TIFF", (0.25, 0.5)),
    ],
)
def test_a_range_is_mapped_to_black_and_white(
    tmp_path: Path, values: npt.NDArray[np.uint16], kind: str, bounds: tuple[float, float]
) -> None:
    got = one(tmp_path, file(Image.fromarray(values), kind), f"x.{kind.lower()}", range=bounds, channels=1)
    assert np.array_equal(got[..., 0], _shade(values, *bounds))
    assert ShardIndex.read(tmp_path / "out").origin["range"] == list(bounds)


def test_a_small_part_of_the_range_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    source = folder(tmp_path / "in", {f"{n}.png": file(Image.fromarray(TWELVE)) for n in range(40)})
    report = call(tmp_path, source, say=said.append)
    words = (
        "their values lie between 0 and 4080 of 0 to 65535 and give only 17 levels of grey; "
        "--range LOW:HIGH, such as 0:4095, maps them to all 256"
    )
    assert said == [f"the first 32 pictures have more than 8 bits: {words}"]
    assert f"40 pictures with more than 8 bits: {words}" in report.lines()
    assert len(np.unique(stored(tmp_path / "out")["0.png"])) == 17
    assert "range" not in ShardIndex.read(tmp_path / "out").origin
    again = prepare(source, tmp_path / "2", Asked(range=(0, 4095)), workers=1)
    assert len(np.unique(stored(tmp_path / "2")["0.png"])) == 255  # 4080 of 4095 is not white
    assert not [line for line in again.lines() if "more than 8 bits" in line]


def test_a_full_range_is_not(tmp_path: Path) -> None:
    full = file(Image.fromarray((np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)))
    report = call(tmp_path, folder(tmp_path / "in", {"a.png": full, "b.png": file(Image.fromarray(TWELVE))}))
    assert not [line for line in report.lines() if "bits" in line]


def test_pixels_without_a_stated_range_say_which_they_have(tmp_path: Path) -> None:
    files = {
        "hu.tif": file(Image.fromarray(HOUNSFIELD), "TIFF"),
        "float.tif": file(Image.fromarray(FLOAT * 2 - 1), "TIFF"),
        "nan.tif": file(Image.fromarray(np.full((8, 8), np.nan, np.float32)), "TIFF"),
    }
    reasons = dict(call(tmp_path, folder(tmp_path / "in", {**files, "a.png": plain(1)})).skipped)
    assert reasons == {
        "hu.tif": "32-bit pixels from -1000 to 3080 have no stated range; --range LOW:HIGH states it",
        "float.tif": "floating-point pixels from -1 to 0.992188 have no stated range; "
        "--range LOW:HIGH states it",
        "nan.tif": "has pixels that are no finite numbers",
    }


def test_values_beyond_the_range_and_a_range_for_nothing_are_said(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", {"a.png": file(Image.fromarray(TWELVE))})
    lines = call(tmp_path, source, range=(0, 1000)).lines()
    assert "1 picture with values beyond --range: clipped" in lines
    lines = prepare(
        folder(tmp_path / "8", {"a.png": plain(1)}), tmp_path / "2", Asked(range=(0, 9)), workers=1
    ).lines()
    assert "--range changed nothing: no picture has more than 8 bits" in lines


@pytest.mark.parametrize("bounds", [(5, 5), (9, 1), (0, float("inf")), (float("nan"), 1)])
def test_a_range_must_be_one(tmp_path: Path, bounds: tuple[float, float]) -> None:
    with pytest.raises(UserError, match=r"--range .*: must be two numbers, the lower one first"):
        call(tmp_path, folder(tmp_path / "in", {"a.png": plain(1)}), range=bounds)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png16(values: npt.NDArray[np.uint16]) -> bytes:
    """[H, W, 3 or 4] as PNG with 16 bits a colour, which PIL does not write."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    body = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _tiff16(values: npt.NDArray[np.uint16], order: str) -> bytes:
    """[H, W, 3] as an uncompressed TIFF with 16 bits a colour; order: < or >."""
    height, width, _ = values.shape
    entries = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, 8), (259, 3, 1, 1), (262, 3, 1, 2)]
    entries += [(273, 4, 1, 14), (277, 3, 1, 3), (278, 3, 1, height), (279, 4, 1, values.size * 2)]
    pixels = values.astype(f"{order}u2").tobytes()
    directory = struct.pack(f"{order}H", len(entries))
    for tag, kind, count, value in entries:
        short = kind == 3 and count == 1
        directory += struct.pack(f"{order}HHI", tag, kind, count)
        directory += struct.pack(f"{order}{'HH' if short else 'I'}", *([value, 0] if short else [value]))
    mark = {"<": b"II*\0", ">": b"MM\0*"}[order]
    head = mark + struct.pack(f"{order}I", 14 + len(pixels)) + struct.pack(f"{order}HHH", 16, 16, 16)
    return head + pixels + directory + bytes(4)


COLOURS = np.random.default_rng(3).integers(0, 65536, (16, 16, 3), np.uint16)


@pytest.mark.parametrize("data", [_png16(COLOURS), _tiff16(COLOURS, "<"), _tiff16(COLOURS, ">")])
def test_colours_of_16_bits_keep_both_bytes(tmp_path: Path, data: bytes) -> None:
    assert np.array_equal(one(tmp_path, data), _shade(COLOURS, 0, 65535))


def test_colours_of_12_bits_in_16(tmp_path: Path) -> None:
    dark = (COLOURS // 16).astype(np.uint16)
    source = folder(tmp_path / "in", {"a.png": _png16(dark)})
    assert any("give only 17 levels" in line for line in call(tmp_path, source).lines())
    prepare(source, tmp_path / "2", Asked(range=(0, 4095)), workers=1)
    assert np.array_equal(stored(tmp_path / "2")["a.png"], _shade(dark, 0, 4095))


def test_transparency_of_16_bits_lies_over_the_background(tmp_path: Path) -> None:
    values = np.zeros((16, 16, 4), np.uint16)
    values[:8, :, 3] = 65535
    got = one(tmp_path, _png16(values), background="#ff8000")
    assert (got[:8] == 0).all()
    assert (got[8:] == (255, 128, 0)).all()


def test_transparency_is_said_once_and_lies_over_the_background(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (16, 16), (9, 9, 9, 0))
    half = Image.new("LA", (16, 16), (0, 128))
    full = Image.new("RGBA", (16, 16), (9, 9, 9, 255))
    files = {"clear.png": file(clear), "half.png": file(half), "full.png": file(full)}
    source = folder(tmp_path / "in", files)
    words = "2 pictures with transparent parts: they lie over"
    assert f"{words} white (--background COLOUR)" in call(tmp_path, source).lines()
    assert "background" not in ShardIndex.read(tmp_path / "out").origin
    report = prepare(source, tmp_path / "2", Asked(background="Lime"), workers=1)
    assert f"{words} the background (--background COLOUR)" in report.lines()
    got = {name: image[0, 0].tolist() for name, image in stored(tmp_path / "2").items()}
    assert got["clear.png"] == [0, 255, 0]
    assert abs(got["half.png"][1] - 127) <= 1
    assert got["full.png"] == [9, 9, 9]
    assert ShardIndex.read(tmp_path / "2").origin["background"] == [0, 255, 0]
    with pytest.raises(UserError, match="--background paisley: must be a colour, such as black"):
        call(tmp_path, source, background="paisley")


def _s15(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def _profile(xyz: npt.NDArray[np.float64], gamma: float) -> bytes:
    """An ICC.1:2001-04 profile of a display: columns of `xyz` are its primaries under D50, with one gamma."""
    white = xyz.sum(1)
    tags = {b"wtpt": white, b"rXYZ": xyz[:, 0], b"gXYZ": xyz[:, 1], b"bXYZ": xyz[:, 2]}
    data = {name: b"XYZ \0\0\0\0" + b"".join(map(_s15, value)) for name, value in tags.items()}
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    data |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    text = b"x\0"
    data[b"desc"] = (b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78 + 2)).ljust(96, b"\0")
    data[b"cprt"] = b"text\0\0\0\0none".ljust(16, b"\0")
    at, table, body = 128 + 4 + 12 * len(data), b"", b""
    for name, content in data.items():
        content += bytes(-len(content) % 4)
        table += name + struct.pack(">II", at + len(body), len(content))
        body += content
    head = struct.pack(">I4sI4s4s4s", at + len(body), b"none", 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + _s15(0.9642) + _s15(1.0) + _s15(0.8249)
    return head.ljust(128, b"\0") + struct.pack(">I", len(data)) + table + body


# D50-adapted colorants: columns are red, green and blue. sRGB: IEC 61966-2-1 as the ICC adapts it (Bradford);
# Display P3: the same of SMPTE EG 432-1's primaries with D65.
SRGB = np.array([[0.4360, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]])
P3 = np.array([[0.5151, 0.2920, 0.1571], [0.2412, 0.6922, 0.0666], [-0.0011, 0.0419, 0.7841]])


def _to_srgb(colour: tuple[int, int, int], primaries: npt.NDArray[np.float64], gamma: float) -> list[float]:
    """By the definition: to light, to sRGB's primaries, clipped, through sRGB's curve."""
    light = np.linalg.inv(SRGB) @ primaries @ (np.array(colour) / 255) ** gamma
    light = np.clip(light, 0, 1)
    curved = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return list(255 * curved)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "AVIF"])
@pytest.mark.parametrize("colour", [(200, 60, 60), (40, 180, 90), (128, 128, 128), (255, 255, 255)])
def test_wide_colours_become_srgb(tmp_path: Path, kind: str, colour: tuple[int, int, int]) -> None:
    _becomes_srgb(tmp_path, kind, colour, P3, 2.2)


def test_colours_that_differ_in_their_curve_alone_become_srgb(tmp_path: Path) -> None:
    _becomes_srgb(tmp_path, "PNG", (128, 100, 60), SRGB, 1.8)


def _becomes_srgb(
    tmp_path: Path, kind: str, colour: tuple[int, int, int], primaries: npt.NDArray[np.float64], gamma: float
) -> None:
    options = {"lossless": True} if kind == "WEBP" else {"quality": 100} if kind in ("JPEG", "AVIF") else {}
    data = file(Image.new("RGB", (16, 16), colour), kind, icc_profile=_profile(primaries, gamma), **options)
    got = one(tmp_path, data, f"x.{kind.lower()}")[8, 8]
    assert np.abs(got - np.array(_to_srgb(colour, primaries, gamma))).max() <= 3


def test_profiles_are_said_and_those_of_srgb_change_nothing(tmp_path: Path) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    wide = _profile(P3, 2.2)
    clear = picture.convert("RGBA")
    clear.putalpha(0)
    files = {
        "srgb.png": file(picture, icc_profile=srgb),
        "wide.png": file(picture, icc_profile=wide),
        "clear.png": file(clear, icc_profile=wide),
        "palette.png": file(picture.quantize(16), icc_profile=wide),
        "lab.png": file(picture, icc_profile=lab),
        "broken.png": file(picture, icc_profile=wide[:90]),
        "none.png": file(picture),
    }
    lines = call(tmp_path, folder(tmp_path / "in", files)).lines()
    assert "3 pictures with another colour profile than sRGB: converted to sRGB" in lines
    for sample in read_samples(ShardIndex.read(tmp_path / "out")):
        assert b"iCCP" not in sample.image, sample.meta  # bytes are a function of pixels, not of the time
    assert "2 pictures with a colour profile that cannot be used: taken as sRGB" in lines
    got = stored(tmp_path / "out")
    for name in ("srgb.png", "none.png", "broken.png", "lab.png"):
        assert np.array_equal(got[name], np.asarray(picture)), name
    assert not np.array_equal(got["wide.png"], np.asarray(picture))
    assert (got["clear.png"] == 255).all()


def test_grey_profiles_are_followed_too(tmp_path: Path) -> None:
    grey = Image.new("L", (16, 16), 128)
    # The same display, of which a grey picture uses the curve alone.
    profile = bytearray(_profile(SRGB, 1.0))
    profile[16:20] = b"GRAY"
    for name in (b"rTRC",):
        at = profile.index(name, 132)
        profile[at : at + 4] = b"kTRC"
    got = one(tmp_path, file(grey, icc_profile=bytes(profile)), channels=1)[0, 0, 0]
    assert abs(int(got) - _to_srgb((128, 128, 128), SRGB, 1.0)[0]) <= 2  # linear light: 188


def test_more_frames_are_said(tmp_path: Path) -> None:
    first, second = Image.new("RGB", (16, 16), "red"), Image.new("RGB", (16, 16), "blue")
    files = {
        "a.gif": file(first, "GIF", save_all=True, append_images=[second]),
        "b.webp": file(first, "WEBP", save_all=True, append_images=[second], lossless=True),
        "c.tiff": file(first, "TIFF", save_all=True, append_images=[second]),
        "d.png": file(first),
        "e.gif": file(first, "GIF"),
    }
    report = call(tmp_path, folder(tmp_path / "in", files))
    assert "3 pictures with several frames: the first was taken" in report.lines()
    assert all(tuple(image[0, 0]) == (255, 0, 0) for image in stored(tmp_path / "out").values())
