"""prepare: every mode, size and wrong input that people feed it."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from pipeline.data.shards.index import ShardIndex
from pipeline.errors import UserError
from tests.data.feeds import Bytes, call, file, folder, noise, one, plain, stored

GREEN = (10, 200, 30)
_half = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
_half.paste((*GREEN, 255), (0, 0, 8, 16))
_palette = Image.new("RGB", (16, 16), GREEN).quantize(4)
_see_through = Image.new("P", (16, 16), 0)
_see_through.putpalette([0, 0, 0, *GREEN])
_exif = Image.Exif()
_exif[0x0112] = 6  # turn a quarter clockwise
_halves = Image.new("RGB", (16, 16), "white")
_halves.paste((0, 0, 0), (0, 0, 8, 16))  # left black: upright after turning, the top is black
_ramp16 = Image.fromarray((np.arange(256, dtype=np.uint16) * 257).reshape(16, 16))
_cmyk = Image.new("RGB", (16, 16), (200, 40, 40)).convert("CMYK")

# (file, expected colour of the corner pixel, tolerance)
MODES: dict[str, tuple[bytes, tuple[int, int, int], int]] = {
    "rgb": (file(Image.new("RGB", (16, 16), GREEN)), GREEN, 0),
    "palette": (file(_palette), GREEN, 0),
    "palette see-through": (file(_see_through, transparency=0), (255, 255, 255), 0),
    "rgba opaque": (file(Image.new("RGBA", (16, 16), (*GREEN, 255))), GREEN, 0),
    "rgba clear": (file(Image.new("RGBA", (16, 16), (0, 0, 0, 0))), (255, 255, 255), 0),
    "rgba half": (file(Image.new("RGBA", (16, 16), (0, 0, 0, 128))), (127, 127, 127), 1),
    "la": (file(Image.new("LA", (16, 16), (90, 255))), (90, 90, 90), 0),
    "grey": (file(Image.new("L", (16, 16), 77)), (77, 77, 77), 0),
    "1 bit": (file(Image.new("1", (16, 16), 1)), (255, 255, 255), 0),
    "16 bit": (file(Image.fromarray(np.full((16, 16), 0x8080, np.uint16))), (128, 128, 128), 0),
    "cmyk jpeg": (file(_cmyk, "JPEG", quality=100), (200, 40, 40), 6),
    "cmyk tiff": (file(_cmyk, "TIFF"), (200, 40, 40), 2),
    "ycbcr": (file(Image.new("RGB", (16, 16), GREEN), "JPEG", quality=100), GREEN, 4),
    "webp": (file(Image.new("RGB", (16, 16), GREEN), "WEBP", lossless=True), GREEN, 0),
    "gif, first frame": (
        file(Image.new("RGB", (16, 16), GREEN).quantize(2), "GIF", save_all=True,
             append_images=[Image.new("RGB", (16, 16), "red").quantize(2)]), GREEN, 0,
    ),
    "bmp": (file(Image.new("RGB", (16, 16), GREEN), "BMP"), GREEN, 0),
}  # fmt: skip


@pytest.mark.parametrize("mode", list(MODES))
def test_any_mode(tmp_path: Path, mode: str) -> None:
    data, colour, tolerance = MODES[mode]
    pixel = one(tmp_path, data)[0, 0].astype(int)
    assert np.abs(pixel - colour).max() <= tolerance


def test_sixteen_bits_keep_their_order(tmp_path: Path) -> None:
    assert np.array_equal(one(tmp_path, file(_ramp16))[..., 0].ravel(), np.arange(256))


def test_exif_rotation(tmp_path: Path) -> None:
    image = one(tmp_path, file(_halves, exif=_exif))
    assert image[0, 0, 0] == image[0, -1, 0] == 0
    assert image[-1, 0, 0] == 255


@pytest.mark.parametrize("name", ["box", "bilinear", "bicubic", "lanczos"])
def test_crop_and_filter_are_pils(tmp_path: Path, name: Any) -> None:
    picture = noise(61, 40)
    got = one(tmp_path, file(picture), side=16, filter=name)
    expected = picture.crop((10, 0, 50, 40)).resize((16, 16), Image.Resampling[name.upper()])
    assert np.array_equal(got, np.asarray(expected))
    assert ShardIndex.read(tmp_path / "out").origin["filter"] == name
    assert ShardIndex.read(tmp_path / "out").origin["crop"] == "centre"


def test_not_square_and_grey_on_request(tmp_path: Path) -> None:
    picture = noise(64, 64)
    source = folder(tmp_path / "in", {"x.png": file(picture)})
    prepare(source, tmp_path / "out", Asked(height=8, width=16, channels=1, filter="box"), workers=1)
    expected = picture.convert("L").crop((0, 16, 64, 48)).resize((16, 8), Image.Resampling.BOX)
    assert np.array_equal(stored(tmp_path / "out")["x.png"][..., 0], np.asarray(expected))
    assert ShardIndex.read(tmp_path / "out").spec.channels == 1


@pytest.mark.parametrize(("format", "quality", "worst"), [("jpg", 95, 40), ("webp", 100, 0), ("png", 95, 0)])
def test_formats(tmp_path: Path, format: Any, quality: int, worst: int) -> None:
    picture = noise(16, 16).resize((32, 32), Image.Resampling.BICUBIC)
    got = one(tmp_path, file(picture), side=32, format=format, quality=quality)
    assert np.abs(got.astype(int) - np.asarray(picture)).max() <= worst


def test_enlarging_is_said(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", {"a.png": plain(1, (8, 30)), "b.png": plain(2, (64, 64))})
    report = prepare(source, tmp_path / "out", Asked(resolution=32), workers=1)
    assert report.enlarged == 1
    assert "1 was smaller than asked and was enlarged" in "\n".join(report.lines())


def _png_claiming(width: int, height: int) -> bytes:
    """A small, valid PNG header of a huge picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


# name -> (content, reason that the report gives)
BAD: dict[str, tuple[bytes, str]] = {
    "cut.jpg": (file(noise(64, 64), "JPEG")[:1500], "truncated"),
    "cut.png": (file(noise(64, 64))[:3000], "truncated"),
    "empty.png": (b"", "is empty"),
    "text.jpg": (b"<html>404</html>", "not an image of a known kind"),
    "wide.png": (_png_claiming(20000, 10), "20000x10 pixels; at most 16384 a side"),
    "bomb.png": (_png_claiming(16000, 16000), "pixels"),
    "float.tiff": (file(Image.fromarray(np.zeros((9, 9), np.float32)), "TIFF"), "floating-point"),
    "svg.webp": (b"<svg onload='x'/>", "not an image"),
}


def test_every_unreadable_file_is_named_and_the_rest_kept(tmp_path: Path) -> None:
    good = {f"good {n}.png": plain(n) for n in range(5)}
    source = folder(
        tmp_path / "in", {**{k: v[0] for k, v in BAD.items()}, **good, "readme.txt": b"x", ".hid.png": b""}
    )
    report = prepare(source, tmp_path / "out", Asked(resolution=16), workers=1)
    reasons = dict(report.skipped)
    assert set(reasons) == set(BAD)
    for name, (_, reason) in BAD.items():
        assert reason in reasons[name], (name, reasons[name])
    assert report.count == 5
    assert report.others.words() == "1 .txt (readme.txt)"
    assert set(stored(tmp_path / "out")) == set(good)
    text = "\n".join(report.lines())
    assert f"{len(BAD)} could not be used:" in text
    assert all(name in text for name in BAD)


def test_names_of_all_kinds(tmp_path: Path) -> None:
    names = ["ä ö/ünï çode.png", "日本/写真 1.PNG", "a'b\"c/$(x).png", "dots.in.name/a.b.c.png"]
    source = folder(tmp_path / "in", {name: plain(n) for n, name in enumerate(names)})
    with open(os.fsencode(source / "dots.in.name") + b"/\xff.png", "wb") as odd:  # not UTF-8
        odd.write(plain(9))
    report = prepare(source, tmp_path / "out", Asked(resolution=16), workers=1)
    assert report.count == 5
    assert set(names) <= set(stored(tmp_path / "out"))
    "\n".join(report.lines()).encode()


def _files(files: Bytes) -> Callable[[Path], Path]:
    return lambda root: folder(root / "in", files)


def _raw(name: str, data: bytes) -> Callable[[Path], Path]:
    def make(root: Path) -> Path:
        (root / name).write_bytes(data)
        return root / name

    return make


A = {"a.png": plain(1)}
WRONG: dict[str, tuple[Callable[[Path], str | Path], dict[str, Any], str]] = {
    "no such source": (lambda _: "/no/such", {}, "no such source; allowed: a folder, .zip, .tar, .* demo:"),
    "no such demo": (lambda _: "demo:cats", {}, "demo:cats: no such demo; allowed: demo:digits, "),
    "columns of a folder": (_files(A), {"image_column": "x"}, "--image-column x: .*in is no table; leave"),
    "seconds of a folder": (_files(A), {"every": 2.0}, "--every 2: .*in is no video; leave the option out"),
    "fields of a folder": (_files(A), {"fields": ("edges",)}, "--fields edges: .*in draws no such.*leave"),
    "unknown field": (
        lambda _: "demo:faces", {"fields": ("parts", "part")},
        "--fields part: demo:faces draws no such field; allowed: edges, parts, text, scene",
    ),
    "empty folder": (_files({"x/readme.txt": b""}), {}, "in: holds no images"),
    "none readable": (_files({"a.png": b"x"}), {}, "none of its images can be read.*a.png: not an image"),
    "no resolution": (
        _files({"a.png": plain(1), "b.png": plain(1, (8, 8))}), {"resolution": None},
        r"resolution: must be given, images differ in size \(a.png is 16x16, b.png is 8x8\)",
    ),
    "two sizes": (_files(A), {"height": 8, "width": 8}, "resolution: give it, or height and width, not both"),
    "half a size": (_files(A), {"resolution": None, "height": 8}, "height, width: give both"),
    "too small": (_files(A), {"resolution": 1}, "resolution: 1x1; 4 to 16384 pixels"),
    "channels": (_files(A), {"channels": 2}, r"channels: 2; allowed: 1 \(grey\), 3"),
    "filter": (_files(A), {"filter": "lanzcos"}, "filter: lanzcos; allowed: box, bilinear, bicubic, lanczos"),
    "format": (_files(A), {"format": "bmp"}, "format: bmp; allowed: png, jpg, webp"),
    "grey webp": (_files(A), {"format": "webp", "channels": 1}, "webp has no grey"),
    "quality": (_files(A), {"quality": 0}, "quality: 0; 1 to 100"),
    "count": (_files(A), {"count": 0}, "count: 0; must be at least 1"),
    "labels mode": (_files(A), {"labels": "folder"}, "folder: no such labels; allowed: auto, folders"),
    "one outside": (_files({**A, "c/b.png": plain(2)}), {}, "a.png: lies in no class folder.*--labels none"),
    "gz": (_raw("x.tar.gz", b"\x1f\x8b123"), {}, "x.tar.gz: compressed archives are not read"),
    "gz in disguise": (_raw("x.tar", b"\x1f\x8b123"), {}, "x.tar: compressed archives are not read"),
    "no archive": (_raw("x.zip", b"PK but no zip"), {}, "x.zip: the zip archive is cut short or damaged"),
    "unreadable as error": (_files({**A, "b.png": b"x"}), {"on_unreadable": "error"}, "b.png: not an image"),
    "faces too large": (lambda _: "demo:faces", {"resolution": 2048}, "resolution: 2048; 16 to 1024"),
}  # fmt: skip


@pytest.mark.parametrize("case", list(WRONG))
def test_wrong_input_is_one_line(tmp_path: Path, case: str) -> None:
    make, options, message = WRONG[case]
    with pytest.raises(UserError, match=message) as caught:
        call(tmp_path, make(tmp_path), **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out/index.json").exists()


def test_one_size_needs_no_resolution(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", {"a.png": plain(1, (24, 16)), "b.png": plain(2, (24, 16))})
    call(tmp_path, source, resolution=None)
    spec = ShardIndex.read(tmp_path / "out").spec
    assert (spec.height, spec.width) == (16, 24)


def test_links_that_leave_the_folder_are_not_followed(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", {"a.png": plain(1)})
    outside = folder(tmp_path / "private", {"secret.png": plain(2)})
    (source / "link.png").symlink_to(outside / "secret.png")
    (source / "dir").symlink_to(outside)
    (source / "inside.png").symlink_to(source / "a.png")
    (source / "gone.png").symlink_to(source / "nothing.png")
    report = call(tmp_path, source)
    not_followed = "which is not followed; --follow-links follows it"
    assert dict(report.skipped) == {
        "dir": f"is a link to a folder, {not_followed}",
        "gone.png": "is a link to nothing",
        "link.png": f"is a link out of the folder, {not_followed}",
    }
    assert set(stored(tmp_path / "out")) == {"a.png", "inside.png"}
