"""Others' shards that are not used where they lie: which, in which words, and what a kill leaves."""

from __future__ import annotations

import io
import multiprocessing
import os
import random
import shutil
import signal
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

from pipeline.data.preparing import survey
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.reader import read_labels
from pipeline.data.streaming.numbered import read_uint8
from pipeline.errors import UserError
from pipeline.images.pixels import Plain
from tests.data.foreign import counting, encoded, in_place, in_place_of, photo, write_shards
from tests.data.sets import make_set, png
from tests.data.test_pixels import P3, _profile


def _turned() -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return encoded(photo(1, 8), "JPEG", exif=exif)


def _profiled(profile: bytes) -> bytes:
    return encoded(photo(1, 8), "JPEG", icc_profile=profile)


def _animated() -> bytes:
    pictures = [photo(n, 8) for n in range(3)]
    return encoded(pictures[0], "WEBP", save_all=True, append_images=pictures[1:])


MISFITS: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "another size": ("png", lambda: png(1, 16), "1 of another size than 8x8 .the first: .*/x.png is 16x16."),
    "turned": ("jpg", _turned, "1 stored turned or mirrored, with an EXIF orientation"),
    "16 bits": ("png", lambda: encoded(Image.new("I;16", (8, 8)), "PNG"), "1 not 8-bit grey or RGB"),
    "a palette": ("png", lambda: encoded(photo(1, 8).quantize(8), "PNG"), "1 not 8-bit grey or RGB"),
    "transparent": (
        "png",
        lambda: encoded(Image.new("RGBA", (8, 8), (1, 2, 3, 4)), "PNG"),
        "1 not 8-bit grey or RGB",
    ),
    "one colour transparent": (
        "png",
        lambda: encoded(Image.new("RGB", (8, 8), (1, 2, 3)), "PNG", transparency=(1, 2, 3)),
        "1 with transparent parts",
    ),
    "CMYK": ("jpg", lambda: encoded(photo(1, 8).convert("CMYK"), "JPEG"), "1 not 8-bit grey or RGB"),
    "animated": ("webp", _animated, "1 with several frames"),
    "wide colours": (
        "jpg",
        lambda: _profiled(_profile(P3, 2.2)),
        "1 with a colour profile that changes their colours",
    ),
    "a GIF": ("jpg", lambda: encoded(photo(1, 8), "GIF"), "1 neither PNG, JPEG nor WebP .* is GIF"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_images_that_do_not_fit_are_counted_and_the_first_is_named(tmp_path: Path, case: str) -> None:
    extension, make, message = MISFITS[case]
    samples = [*counting(20), {"__key__": "b/x", extension: make(), "cls": 1}]
    with pytest.raises(UserError, match=message) as caught:
        in_place_of(tmp_path, samples)
    line = str(caught.value)
    assert line.startswith(f"{tmp_path}/theirs: 1 image cannot be used in place: ")
    assert f"00001.tar/b/x.{extension}" in line
    assert line.endswith(f"hrgan prepare {tmp_path}/theirs ANOTHER-FOLDER --resolution 8")
    with pytest.raises(UserError, match="not complete"):
        ShardIndex.read(tmp_path / "out")
    # Mended, and given again, it goes on.
    write_shards(tmp_path / "theirs", counting(20))
    assert in_place(tmp_path / "theirs", tmp_path / "out").count == 20


def test_what_was_published_before_it_was_listed_is_not_decoded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_shards(tmp_path / "theirs", counting(40))
    in_place(source, tmp_path / "out")
    whole = (tmp_path / "out/index.json").read_bytes()
    (tmp_path / "out/index.json").unlink()
    with monkeypatch.context() as patched:
        patched.delattr(survey, "read_picture")
        in_place(source, tmp_path / "out")
    assert (tmp_path / "out/index.json").read_bytes() == whole


def test_mended_shards_come_to_their_place(tmp_path: Path) -> None:
    source = write_shards(tmp_path / "theirs", [{**counting(1)[0], "png": png(0, 16)}, *counting(40)[1:]])
    with pytest.raises(UserError, match="1 of another size than 8x8"):
        in_place(source, tmp_path / "out", resolution=8)
    write_shards(source, counting(40))
    in_place(source, tmp_path / "out")
    index = ShardIndex.read(tmp_path / "out")
    assert [shard.name for shard in index.shards] == ["00000.tar", "00001.tar", "00002.tar"]
    assert read_labels(index) == [n % 10 for n in range(40)]


def test_grey_sets_are_of_grey_images(tmp_path: Path) -> None:
    grey = [{**s, "png": encoded(photo(n, 8).convert("L"), "PNG")} for n, s in enumerate(counting(20))]
    index = in_place_of(tmp_path, grey, channels=1)
    for (image, _, _), sample in zip(read_uint8(index, batch_size=1), grey, strict=True):
        assert image[0, 0].tolist() == np.array(Image.open(io.BytesIO(sample["png"]))).tolist()
    with pytest.raises(UserError, match=r"20 images cannot be used in place: 20 in colour, not grey"):
        in_place_of(tmp_path / "b", counting(20), channels=1)


def test_a_profile_that_changes_nothing_is_fine(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    samples = [{"__key__": f"{n}", "jpg": _profiled(srgb)} for n in range(4)]
    assert in_place_of(tmp_path, samples).count == 4


def test_a_set_that_is_sorted_by_class_is_refused_with_figures(tmp_path: Path) -> None:
    samples = sorted(counting(320), key=lambda sample: sample["cls"])
    message = (
        r"theirs: is sorted by class: in \d+ of 20 shards, two images that lie together in the loader's "
        r"order are of one class in 100.0% of cases, by chance it would be \d\d\.\d%; .* hrgan prepare "
        r"\S+theirs ANOTHER-FOLDER --resolution 8$"
    )
    with pytest.raises(UserError, match=message):
        in_place_of(tmp_path, samples)
    with pytest.raises(UserError, match="is sorted by class"):  # batches would be so without labels, too
        in_place(tmp_path / "theirs", tmp_path / "none", labels="none")
    random.Random(1).shuffle(samples)
    assert in_place_of(tmp_path / "mixed", samples).count == 320


REFUSALS: dict[str, tuple[Callable[[Path], Any], dict[str, Any], str]] = {
    "no tars": (lambda p: (p / "theirs").mkdir(), {}, r"theirs: holds no \.tar; allowed: a folder of shards"),
    "nothing": (lambda p: None, {}, r"theirs: no such shards; allowed"),
    "no images": (
        lambda p: write_shards(p / "theirs", [{"__key__": "a", "txt": "x"}]),
        {},
        "holds no image that can be read",
    ),
    "a name with blanks": (
        lambda p: os.rename(write_shards(p / "theirs", counting(2)) / "00000.tar", p / "theirs/a b.tar"),
        {},
        r"a b\.tar: a shard's name may have letters",
    ),
    "our own": (lambda p: make_set(p / "theirs", 4), {}, "is a data set of shards already"),
    "another program's index.json": (
        lambda p: (write_shards(p / "out", counting(2)) / "index.json").write_text("[]"),
        {"source": "out"},
        "out/index.json: content: must be a JSON object",
    ),
    "labels of a file": (
        lambda p: write_shards(p / "theirs", counting(2)),
        {"labels": "l.csv"},
        "allowed: auto",
    ),
    "a column of none": (
        lambda p: write_shards(p / "theirs", counting(2)),
        {"labels": "none", "label_column": "x"},
        "--label-column x: chooses classes",
    ),
    "no such column": (
        lambda p: write_shards(p / "theirs", counting(2, json={"y": 1})),
        {"label_column": "x"},
        r"--label-column x: no \.json has such a class",
    ),
    "some without class": (
        lambda p: write_shards(p / "theirs", [*counting(2), {"__key__": "b", "png": png(3)}]),
        {},
        r"theirs/00000\.tar: b\.png: has no class \(\.cls\) while others have; add it, or allowed: --labels",
    ),
    "another set there": (
        lambda p: (write_shards(p / "theirs", counting(2)), make_set(p / "out", 4)),
        {},
        "out: holds a data set with shards of its own",
    ),
    "strangers there": (
        lambda p: (write_shards(p / "theirs", counting(2)), (p / "out").mkdir(), (p / "out/x.txt").touch()),
        {},
        r"out: not empty \(holds x\.txt\)",
    ),
    "too small for a pyramid": (
        lambda p: write_shards(p / "theirs", [{"__key__": "a", "png": png(1, 6)}]),
        {"pyramid": True},
        "--pyramid: images of 6x6",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_is_refused_is_so_in_a_line(tmp_path: Path, case: str) -> None:
    make, asked, message = REFUSALS[case]
    make(tmp_path)
    options = {"source": "theirs", **asked}
    source = tmp_path / options.pop("source")
    with pytest.raises(UserError, match=message) as caught:
        in_place(source, tmp_path / "out", **options)
    assert "\n" not in str(caught.value)


PATTERNS = {
    "{00000..00003}.tar": r"2 of 4 files are not there, such as .*00002\.tar",
    "{00000,{b/,}00001}.tar": "1 of 3 files are not there",
    "{00000,00000}.tar": "twice",
    "../{theirs,b}/00000.tar": "names shards in several folders",
    "{00000..99999999}.tar": "is more than 1000000 names",
    "{00000.tar": "a brace is not closed",
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_name_shards_of_one_folder(tmp_path: Path, pattern: str) -> None:
    source = write_shards(tmp_path / "theirs", counting(20))
    shutil.copytree(source, tmp_path / "b")
    with pytest.raises(UserError, match=PATTERNS[pattern]):
        in_place(f"{source}/{pattern}", tmp_path / "out")


def test_names_that_lead_out_are_refused(tmp_path: Path) -> None:
    source = write_shards(tmp_path / "theirs", counting(2))
    with tarfile.open(source / "00000.tar", "a") as tar:
        tar.addfile(tarfile.TarInfo("../../x.png"))
    with pytest.raises(UserError, match=r"member '\.\./\.\./x\.png' points outside"):
        in_place(source, tmp_path / "out")


def test_shards_that_changed_since_are_told(tmp_path: Path) -> None:
    source = write_shards(tmp_path / "theirs", counting(40))
    in_place(source, tmp_path / "out")
    with pytest.raises(UserError, match=r"holds another data set \(labels: 'auto' there, 'none' asked\)"):
        in_place(source, tmp_path / "out", labels="none")
    with pytest.raises(UserError, match=r"holds another data set \(height: 8 there, 16 asked; width"):
        in_place(source, tmp_path / "out", resolution=16)
    shutil.copy(source / "00001.tar", source / "00009.tar")
    with pytest.raises(UserError, match=r"as they were before \(00009.tar is new\)"):
        in_place(source, tmp_path / "out")
    os.remove(source / "00009.tar")
    (source / "00001.tar").write_bytes((source / "00001.tar").read_bytes() + bytes(10240))
    with pytest.raises(UserError, match=r"as they were before \(00001.tar had \d+ bytes and has \d+\)"):
        in_place(source, tmp_path / "out")
    os.remove(source / "00001.tar")
    with pytest.raises(UserError, match=r"as they were before \(00001.tar is gone\)"):
        in_place(source, tmp_path / "out")


def _slowly(source: Path, out: Path, workers: int, told: int) -> None:
    """Indexes, and writes a byte for each image that is decoded."""
    fast = survey.read_picture

    def slow(data: bytes) -> Plain:
        time.sleep(0.01)
        os.write(told, b".")
        return fast(data)

    os.setsid()
    survey.read_picture = slow
    in_place(source, out, workers=workers)


def _killed_after(source: Path, out: Path, workers: int, images: int) -> tuple[int, bool]:
    """How many images were decoded until the processes were killed, if they were not done before."""
    mine, theirs = os.pipe()
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_slowly, args=(source, out, workers, theirs))
    process.start()
    os.close(theirs)
    decoded = 0
    with os.fdopen(mine, "rb", buffering=0) as told:
        while some := told.read(1):
            decoded += len(some)
            if decoded == images:
                os.killpg(process.pid, signal.SIGKILL)
    process.join()
    return decoded, process.exitcode == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_any_moment_it_goes_on_and_no_shard_is_decoded_twice(tmp_path: Path, workers: int) -> None:
    source, out = write_shards(tmp_path / "theirs", counting(96)), tmp_path / "out"
    straight = in_place(source, tmp_path / "straight")
    kills = total = 0
    for images in (20 * workers, 1, 27 * workers, 1000):
        decoded, done = _killed_after(source, out, workers, images)
        kills, total = kills + (not done), total + decoded
    assert done
    assert kills == 3
    assert 96 < total <= 96 + kills * workers * 17  # a kill costs what each process had of its shard
    for path in (tmp_path / "straight").iterdir():
        assert (out / path.name).read_bytes() == path.read_bytes()
    assert straight.count == 96
