"""Videos as sources."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from pipeline.data.sources import film
from pipeline.data.sources.opening import source_kind
from pipeline.data.sources.source import Wanted
from pipeline.errors import UserError
from tests.data.feeds import call, file, folder, labels_of, noise, plain, stored
from tests.data.forms import made

GREYS = [Image.new("RGB", (64, 48), (4 * n, 4 * n, 4 * n)) for n in range(60)]


def _film(
    path: Path,
    images: Sequence[Image.Image],
    codec: str = "libx264",
    pixels: str = "yuv420p",
    milliseconds: Sequence[int] = (),
    gop: int = 12,
    container: dict[str, str] | None = None,
    rotated: int = 0,
    **settings: Any,
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=container or {}) as out:
        stream = out.add_stream(codec, rate=1000 if milliseconds else 25)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = *images[0].size, pixels, gop
        if rotated:
            stream.set_display_rotation(rotated)
        for name, value in settings.items():
            setattr(stream.codec_context, name, value)
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_image(image)
            if milliseconds:
                frame.pts, frame.time_base = milliseconds[number], Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def _greys(out: Path) -> dict[str, int]:
    """Which of GREYS each stored picture is, by its name."""
    return {name: round(image.mean() / 4) for name, image in stored(out).items()}


@pytest.mark.parametrize("workers", [1, 3])
def test_frames_become_what_a_folder_of_their_pictures_becomes(tmp_path: Path, workers: int) -> None:
    images = [noise(24, 18, seed) for seed in range(30)]
    _film(tmp_path / "x.mkv", images, "ffv1", "bgr0", gop=7)  # loses nothing
    call(tmp_path, tmp_path / "x.mkv", every=0, workers=workers)
    folder(tmp_path / "plain", {f"{n:02d}.png": file(image) for n, image in enumerate(images)})
    call(tmp_path / "reference", tmp_path / "plain")
    assert made(tmp_path / "out") == made(tmp_path / "reference/out")
    assert set(stored(tmp_path / "out")) == {f"x/{n:06d}" for n in range(30)}


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "libx264"),
        ("a.mov", "mpeg4"),
        ("a.mkv", "libx264"),
        ("a.webm", "libvpx"),
        ("a.avi", "mpeg4"),
        ("a.flv", "libx264"),
        ("a.wmv", "msmpeg4"),
    ],
)
def test_every_frame_of_every_format_is_found_by_its_time(tmp_path: Path, name: str, codec: str) -> None:
    path = _film(
        tmp_path / name,
        GREYS,
        codec,
        max_b_frames=0 if codec in ("libvpx", "msmpeg4") else 2,
        bit_rate=2_000_000,
    )
    report = call(tmp_path, path, every=0)
    assert report.skipped == []
    assert _greys(tmp_path / "out") == {f"a/{n:06d}": n for n in range(60)}


def test_variable_rates_go_by_time(tmp_path: Path) -> None:
    times = [0, 10, 490, 500, 510, 1400, 1600, 1990, 3700, 4000]
    path = _film(tmp_path / "x.mkv", GREYS[:10], milliseconds=times)
    call(tmp_path, path, every=0.5)
    # At 0, 0.5, 1, ... s: the last frame that began by then, each one once.
    shown = {max(n for n, time in enumerate(times) if time <= moment) for moment in range(0, 4001, 500)}
    assert sorted(_greys(tmp_path / "out").values()) == sorted(shown) == [0, 3, 4, 5, 7, 9]


def test_one_frame_a_second_unless_another_is_asked(tmp_path: Path) -> None:
    path = _film(tmp_path / "x.mp4", GREYS)
    call(tmp_path, path)
    assert _greys(tmp_path / "out") == {"x/000000": 0, "x/000025": 25, "x/000050": 50}


@pytest.mark.parametrize("angle", [90, 180, 270])
def test_films_of_phones_are_turned_upright(tmp_path: Path, angle: int) -> None:
    picture = noise(4, 3).resize((32, 24), Image.Resampling.NEAREST)
    path = _film(tmp_path / "x.mp4", [picture] * 2, "libx264", "yuv444p", bit_rate=10_000_000, rotated=angle)
    source = source_kind(str(path)).open(str(path), Wanted(every=0))
    expected = picture.rotate(angle, expand=True)
    assert source.size(0) == expected.size
    got = np.asarray(source.picture(1).image).astype(int)
    assert np.abs(got - np.asarray(expected)).mean() < 12


def test_the_matrix_of_a_phone_turns_clockwise(tmp_path: Path) -> None:
    """QuickTime's track header has [a b u; c d v; x y w]; x' = a x + c y, y' = b x + d y, with y downwards:
    a = 0, b = 1, c = -1, d = 0 turns a quarter clockwise."""
    halves = Image.new("RGB", (64, 48), "white")
    halves.paste((0, 0, 0), (0, 0, 32, 48))  # black at the left; upright it is on top
    path = _film(tmp_path / "x.mp4", [halves] * 3)
    plain_matrix = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    turned = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 48 << 16, 0, 1 << 30)
    data = path.read_bytes()
    place = data.index(plain_matrix, data.index(b"tkhd"))  # that of the film, mvhd, comes before
    path.write_bytes(data[:place] + turned + data[place + 36 :])
    call(tmp_path, path, resolution=48)
    (image,) = stored(tmp_path / "out").values()
    assert image[:20].max() < 20
    assert image[-20:].min() > 235


@pytest.mark.parametrize(("height", "red"), [(64, 0.299), (720, 0.2126)])
def test_colours_without_a_stated_matrix_go_by_the_lines(tmp_path: Path, height: int, red: float) -> None:
    """ITU-R BT.601 and BT.709: R - Y = Cr' 2 (1 - Kr), with Y from 16 to 235 and Cr' from 16 to 240."""
    frame = av.VideoFrame(64, height, "yuv444p")
    for plane, value in zip(frame.planes, (100, 128, 160), strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    with av.open(str(tmp_path / "x.mkv"), "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, height, "yuv444p"
        out.mux(stream.encode(frame))
        out.mux(stream.encode())
    source = source_kind(str(tmp_path / "x.mkv")).open(str(tmp_path / "x.mkv"), Wanted())
    got = np.asarray(source.picture(0).image)[height // 2, 32, 0]
    assert abs(got - 255 * ((100 - 16) / 219 + 2 * (1 - red) * (160 - 128) / 224)) <= 1


def test_folders_may_be_classes_and_files_are_none(tmp_path: Path) -> None:
    for name in ("cats/a.mp4", "cats/b.mp4", "dogs/a.mp4"):
        _film(tmp_path / "in" / name, GREYS[:3])
    report = call(tmp_path, tmp_path / "in", labels="folders", every=0)
    assert report.classes == ("cats", "dogs")
    assert labels_of(tmp_path / "out")["dogs/a/000001"] == "dogs"
    assert call(tmp_path / "one", tmp_path / "in/cats", every=0).classes == ()
    with pytest.raises(UserError, match=r"a:000000: lies in no folder that could be its class"):
        call(tmp_path / "two", tmp_path / "in/cats", every=0, labels="folders")


def test_films_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.mkv"):
        _film(tmp_path / "in" / name, GREYS[:1])
    call(tmp_path, tmp_path / "in")
    assert set(stored(tmp_path / "out")) == {"a.mkv/000000", "a.mp4/000000"}


def test_what_could_be_read_of_a_broken_film_is_kept_and_said(tmp_path: Path) -> None:
    textures = [noise(160, 120, n) for n in range(30)]
    fast = _film(tmp_path / "in/cut.mp4", textures, gop=10, container={"movflags": "faststart"})
    fast.write_bytes(fast.read_bytes()[: fast.stat().st_size * 2 // 3])
    late = _film(tmp_path / "in/late.mkv", textures, gop=10, milliseconds=[100 * n for n in range(30)])
    late.write_bytes(late.read_bytes()[: late.stat().st_size // 2])
    holed = bytearray(_film(tmp_path / "in/holed.mp4", textures, gop=10, max_b_frames=0).read_bytes())
    holed[len(holed) // 2 : len(holed) // 2 + 3000] = bytes(3000)
    (tmp_path / "in/holed.mp4").write_bytes(holed)
    folder(
        tmp_path / "in", {"no index.mp4": fast.read_bytes()[:40], "words.mp4": b"no film " * 99, "e.avi": b""}
    )
    _film(tmp_path / "in/whole.mp4", textures, gop=10)
    report = call(tmp_path, tmp_path / "in", every=0, labels="none")
    said = dict(report.skipped)
    for name in ("no index.mp4", "words.mp4", "e.avi"):
        assert said[name].startswith(("is no video that can be read (", "has no stream of video"))
    assert "what comes before is taken" in said["cut.mp4"]
    assert "what comes before is taken" in said["late.mkv"]
    kept = stored(tmp_path / "out")
    counts = {
        name: sum(one.startswith(f"{name}/") for one in kept) for name in ("cut", "late", "holed", "whole")
    }
    assert counts["whole"] == 30
    assert 10 <= counts["cut"] < 25
    assert 8 <= counts["late"] < 20
    assert 18 <= counts["holed"] < 30
    assert sum("holed/" in name for name in said) == 30 - counts["holed"]


@pytest.mark.parametrize(("name", "codec"), [("x.mts", "libx264"), ("x.mpg", "mpeg1video")])
def test_formats_without_times_are_refused_with_advice(tmp_path: Path, name: str, codec: str) -> None:
    with pytest.raises(UserError, match=r"x.m.*: is of the format mpeg.*ffmpeg -i VIDEO -c copy OTHER.mkv\)"):
        call(tmp_path, _film(tmp_path / name, GREYS[:30], codec))


def _sound(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.rate = 48000
        out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def test_a_film_without_pictures(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no images .*x.mp4: has no stream of video\)"):
        call(tmp_path, _sound(tmp_path / "x.mp4"))


def test_what_looks_like_a_film_opens_nothing_else(tmp_path: Path) -> None:
    _film(tmp_path / "secret.mkv", GREYS[:2])
    playlists = {
        "a.mp4": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.mkv\n#EXT-X-ENDLIST\n",
        "b.mp4": b"ffconcat version 1.0\nfile secret.mkv\n",
    }
    source = folder(tmp_path / "in", playlists)
    (source / "secret.mkv").symlink_to(tmp_path / "secret.mkv")
    with pytest.raises(
        UserError, match=r"holds no images \(the first of 2: a.mp4: is no video that can be read"
    ):
        call(tmp_path, source)


def test_names_that_look_like_addresses(tmp_path: Path) -> None:
    path = _film(tmp_path / "in/http:x.mkv", GREYS[:1])
    assert call(tmp_path, path).count == 1


@pytest.mark.parametrize("every", [-1.0, float("nan"), float("inf")])
def test_seconds_that_are_none(tmp_path: Path, every: float) -> None:
    with pytest.raises(UserError, match=r"--every .*: must be seconds between frames, or 0 for all"):
        call(tmp_path, _film(tmp_path / "x.mp4", GREYS[:1]), every=every)


def test_the_same_frames_whenever_it_is_asked(tmp_path: Path) -> None:
    path = _film(tmp_path / "x.avi", [noise(64, 48, n) for n in range(20)], "mpeg4", max_b_frames=2)
    one = film.Film(path, 0)
    first = [one.frame(n).tobytes() for n in range(20)]
    again = film.Film(path, 0)
    assert [again.frame(n).tobytes() for n in reversed(range(20))] == first[::-1]


def test_a_folder_with_pictures_beside_films_stays_one(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", {"a.png": plain(1)})
    _film(source / "x.mp4", GREYS[:1])
    report = call(tmp_path, source)
    assert (report.count, report.others.words()) == (1, "1 .mp4 (x.mp4)")
