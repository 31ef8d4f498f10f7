"""prepare: how pictures of another shape come to this one, with what lies beside them; and four channels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from pipeline.data.shards.decode import decode_field
from pipeline.data.shards.export import export
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.reader import read_samples
from pipeline.errors import UserError
from tests.data.feeds import call, file, fingerprint, folder, noise, one, plain, stored
from tests.data.test_prepare_fields import Pairs, made


def test_the_default_is_the_crop_it_was(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", {"a.png": file(noise(61, 40)), "b.png": file(noise(20, 33))})
    prepare(source, tmp_path / "1", Asked(resolution=16), workers=1)
    prepare(source, tmp_path / "2", Asked(resolution=16, fit="crop"), workers=1)
    assert fingerprint(tmp_path / "1") == fingerprint(tmp_path / "2")
    origin = ShardIndex.read(tmp_path / "1").origin
    assert origin["crop"] == "centre"
    assert not origin.keys() & {
        "fit",
        "min_side",
        "max_aspect",
        "min_sharpness",
        "align",
        "without_duplicates",
    }


def test_stretched_pictures_are_all_there(tmp_path: Path) -> None:
    picture = noise(48, 20)
    got = one(tmp_path, file(picture), fit="stretch", filter="box")
    np.testing.assert_array_equal(got, np.asarray(picture.resize((16, 16), Image.Resampling.BOX)))
    origin = ShardIndex.read(tmp_path / "out").origin
    assert (origin["crop"], origin["fit"]) == (None, "stretch")


@pytest.mark.parametrize(("size", "inside"), [((48, 24), (16, 8)), ((10, 40), (4, 16)), ((32, 32), (16, 16))])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_padded_pictures_lie_in_the_middle(
    tmp_path: Path, size: tuple[int, int], inside: tuple[int, int], channels: int
) -> None:
    picture = noise(*size)
    got = one(tmp_path, file(picture), fit="pad", background="#ff8000", channels=channels, filter="box")
    small = picture.convert({1: "L", 3: "RGB", 4: "RGBA"}[channels]).resize(inside, Image.Resampling.BOX)
    left, top = (16 - inside[0]) // 2, (16 - inside[1]) // 2
    border = {1: [round(0.299 * 255 + 0.587 * 128)], 3: [255, 128, 0], 4: [255, 128, 0, 0]}[channels]
    expected = np.empty((16, 16, channels), np.uint8)
    expected[:] = border
    expected[top : top + inside[1], left : left + inside[0]] = np.asarray(small).reshape(
        inside[1], inside[0], channels
    )
    np.testing.assert_array_equal(got, expected)


def test_only_pictures_that_grow_are_said_to(tmp_path: Path) -> None:
    files = {"wide.png": plain(1, (40, 8)), "small.png": plain(2, (8, 9)), "large.png": plain(3, (40, 40))}
    source = folder(tmp_path / "in", files)
    grown: dict[Any, int] = {"crop": 2, "stretch": 2, "pad": 1}
    for fit, count in grown.items():
        assert prepare(source, tmp_path / fit, Asked(resolution=16, fit=fit), workers=1).enlarged == count


@pytest.mark.parametrize("fit", ["pad", "stretch"])
def test_what_lies_beside_goes_the_same_way(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fit: Any
) -> None:
    index = made(monkeypatch, tmp_path, Pairs(3), fit=fit, background="#404040")
    rows = slice(1, 6) if fit == "pad" else slice(0, 8)
    for sample in read_samples(index):
        content = {field.name: (field, sample.fields[field.name][1]) for field in index.fields}
        pair, mask = (decode_field(*content[name]).numpy() for name in ("pair", "mask"))
        image = decode_field(index.fields[0], sample.image)[..., 0].numpy().astype(int)
        assert np.abs(image + pair[..., 0] - 255)[rows].max() <= 2
        np.testing.assert_array_equal(mask[rows] > 0, image[rows] > 90)
        assert set(np.unique(mask)) == {0, 7}
        assert (image[rows, 0] < 30).all()  # the left is still there
        if fit == "pad":
            beyond = [0, 6, 7]
            assert (mask[beyond] == 0).all()
            assert (image[beyond] == 64).all()
            assert (pair[beyond] == 64).all()


def test_a_shape_that_turns_the_pictures_is_said(tmp_path: Path) -> None:
    wide = folder(tmp_path / "wide", {f"{n}.png": plain(n, (30, 20)) for n in range(4)})
    upright = folder(tmp_path / "upright", {f"{n}.png": plain(n, (20, 30)) for n in range(4)})
    turned = {(wide, 24, 16): "upright", (upright, 16, 24): "wide"}
    for number, (source, height, width) in enumerate(
        [(wide, 24, 16), (upright, 16, 24), (wide, 16, 24), (upright, 24, 16), (wide, 16, 16)]
    ):
        said: list[str] = []
        asked = Asked(height=height, width=width)
        prepare(source, tmp_path / str(number), asked, workers=1, say=said.append)
        if (source, height, width) in turned:
            (line,) = said
            assert f"make {turned[source, height, width]} images, but most pictures are" in line
            assert "(4 of the first 4)" in line
            assert line.endswith(f"give --size {width}x{height}")
        else:
            assert not said


def _half() -> Image.Image:
    """Green to the left; to the right transparent, with colours that nobody sees."""
    picture = noise(32, 32).convert("RGBA")
    picture.paste((10, 200, 30, 255), (0, 0, 16, 32))
    alpha = np.full((32, 32), 0, np.uint8)
    alpha[:, :16] = 255
    alpha[:4, :16] = 100
    picture.putalpha(Image.fromarray(alpha))
    return picture


@pytest.mark.parametrize(("format", "quality"), [("png", 95), ("webp", 100)])
def test_alpha_is_a_channel(tmp_path: Path, format: Any, quality: int) -> None:
    files = {
        "half.png": file(_half()),
        "full.png": file(noise(32, 32)),
        "grey.png": file(Image.new("L", (9, 9), 7)),
    }
    source = folder(tmp_path / "in", files)
    report = call(tmp_path, source, resolution=32, channels=4, format=format, quality=quality, pyramid=True)
    assert "1 picture with transparent parts: kept as the fourth channel" in report.lines()
    index = ShardIndex.read(tmp_path / "out")
    assert index.spec.channels == 4
    assert index.levels[0].height == 16
    got = stored(tmp_path / "out")
    np.testing.assert_array_equal(got["full.png"], np.asarray(noise(32, 32).convert("RGBA")))
    assert got["grey.png"].reshape(-1, 4).tolist() == [[7, 7, 7, 255]] * 1024
    half = got["half.png"]
    np.testing.assert_array_equal(half[..., 3], np.asarray(_half())[..., 3])
    assert (half[:, :16, :3] == (10, 200, 30)).all()
    assert (half[:, 16:] == (255, 255, 255, 0)).all()  # the background, not what was hidden


def test_four_channels_go_out_and_in_again(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", {"a.png": file(_half())})
    call(tmp_path, source, resolution=32, channels=4)
    export(ShardIndex.read(tmp_path / "out"), tmp_path / "files")
    prepare(tmp_path / "files", tmp_path / "again", Asked(channels=4, labels="none"), workers=1)
    (first,), (again,) = stored(tmp_path / "out").values(), stored(tmp_path / "again").values()
    np.testing.assert_array_equal(first, again)


def test_colours_do_not_bleed_where_pictures_are_reduced(tmp_path: Path) -> None:
    got = one(tmp_path, file(_half()), channels=4)
    seen = got[got[..., 3] > 8].astype(int)
    assert np.abs(seen[:, :3] - (10, 200, 30)).max() <= 16


def test_alpha_for_nothing_is_said(tmp_path: Path) -> None:
    lines = call(tmp_path, folder(tmp_path / "in", {"a.png": plain(3)}), channels=4).lines()
    assert "--alpha changed nothing: no picture has transparent parts" in lines


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "jpg": ({"channels": 4, "format": "jpg"}, r"format: jpg holds no alpha; allowed with --alpha: png, webp"),
    "webp with loss": ({"channels": 4, "format": "webp"}, "webp must be lossless: --quality 100"),
    "fit": ({"fit": "zoom"}, "fit: zoom; allowed: crop, pad, stretch"),
    "align and fit": ({"align": Path("x"), "fit": "pad"}, "--fit pad: not with --align"),
    "align and size": (
        {"align": Path("x"), "resolution": None, "height": 8, "width": 16}, "--align: makes square images",
    ),
    "align without size": ({"align": Path("x"), "resolution": None}, "--align: makes square images"),
    "min side": ({"choice": (0, None, None)}, "--min-side 0: must be at least 1 pixel"),
    "aspect": ({"choice": (None, 0.5, None)}, "--max-aspect 0.5: the longer side over the shorter one"),
    "no aspect": ({"choice": (None, float("nan"), None)}, "--max-aspect nan"),
    "sharpness": ({"choice": (None, None, -1.0)}, "--min-sharpness -1: must be a number, at least 0"),
    "duplicates": ({"duplicates": "remove"}, "--duplicates remove; allowed: keep, report, drop"),
    "bits": ({"duplicate_bits": 9}, "--duplicate-bits 9: 0 to 8 are allowed"),
}  # fmt: skip


@pytest.mark.parametrize("case", list(WRONG))
def test_wrong_settings_are_one_line(tmp_path: Path, case: str) -> None:
    from pipeline.data.preparing.choosing import Choice

    settings, message = WRONG[case]
    if "choice" in settings:
        settings = {"choice": Choice(*settings["choice"])}
    with pytest.raises(UserError, match=message) as caught:
        call(tmp_path, folder(tmp_path / "in", {"a.png": plain(1)}), **settings)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
