"""Which files are pictures, and what is said of those that are none."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from pipeline.data.preparing.prepare import prepare
from pipeline.errors import UserError
from pipeline.images.kinds import KINDS, form_of, kind_of
from tests.data.feeds import call, file, folder, labels_of, noise, plain, stored

# Smooth, so that every codec brings it back nearly.
_smooth = noise(4, 4).resize((16, 16), Image.Resampling.BICUBIC)
SAVED: dict[str, tuple[str, dict[str, Any], int]] = {  # kind -> PIL's name, options, worst pixel
    "PNG": ("PNG", {}, 0),
    "JPEG": ("JPEG", {"quality": 100, "subsampling": 0}, 4),
    "WEBP": ("WEBP", {"lossless": True}, 0),
    "BMP": ("BMP", {}, 0),
    "GIF": ("GIF", {}, 40),
    "TIFF": ("TIFF", {"compression": "tiff_lzw"}, 0),
    "PPM": ("PPM", {}, 0),
    "AVIF": ("AVIF", {"quality": 100, "subsampling": "4:4:4"}, 12),
    "HEIF": ("HEIF", {"quality": 100, "chroma": 444}, 12),
    "JPEG2000": ("JPEG2000", {}, 1),
    "TGA": ("TGA", {}, 0),
}


def _saved(kind: str) -> bytes:
    feature = next(known.feature for known in KINDS if known.name == kind)
    if feature is not None and not features.check(feature):
        pytest.skip(f"Pillow without {feature}")
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    name, options, _ = SAVED[kind]
    return file(_smooth, name, **options)


@pytest.mark.parametrize("kind", [kind.name for kind in KINDS])
def test_every_kind_by_every_suffix_and_by_another(tmp_path: Path, kind: str) -> None:
    data = _saved(kind)
    (known,) = [known for known in KINDS if known.name == kind]
    names = [f"{n}{suffix.upper()}" for n, suffix in enumerate(known.suffixes)] + ["wrong.png"]
    call(tmp_path, folder(tmp_path / "in", dict.fromkeys(names, data)))
    got = stored(tmp_path / "out")
    assert set(got) == set(names)
    expected = np.asarray(_smooth).astype(int)
    assert max(np.abs(image.astype(int) - expected).max() for image in got.values()) <= SAVED[kind][2]


def _in_zip(root: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(root / "in.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return root / "in.zip"


@pytest.mark.parametrize("make", [lambda root, files: folder(root / "in", files), _in_zip])
def test_contents_tell_a_picture_where_names_do_not(
    tmp_path: Path, make: Callable[[Path, dict[str, bytes]], Path]
) -> None:
    names = ["d41d8cd98f00b204", "a.dat", "1.5", "photo.png_large"]
    others = {"notes.txt": plain(5), "random": b"BM or not BM, that is the question", "z.dat": b""}
    report = call(tmp_path, make(tmp_path, {**{n: plain(k) for k, n in enumerate(names)}, **others}))
    assert set(stored(tmp_path / "out")) == set(names)
    assert report.others.words() == "1 without suffix (random), 1 .dat (z.dat), 1 .txt (notes.txt)"


def test_a_kind_that_needs_more_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)
    assert kind_of(heic) in KINDS
    source = folder(tmp_path / "in", {"IMG_1.HEIC": heic, "IMG_2.jpg": plain(1)})
    from pipeline.images import normalised as images

    images._make_ready.cache_clear()
    report = call(tmp_path, source)
    images._make_ready.cache_clear()
    assert report.skipped == [("IMG_1.HEIC", "is HEIC; reading it needs pip install 'hrgan[heic]'")]
    assert report.count == 1


# a file -> what a folder that holds only it is said to look like
FORMS = {
    "below/00000.tar": "tars, as WebDataset has them: give the folder that they lie in as SOURCE",
    "x.tfrecord": "TFRecord: write",
    "train.tfrecord-00000-of-00010": "TFRecord: write",
    "celeba_hq.h5": "HDF5: write",
    "images.npy": "NumPy arrays: write",
    "cifar.npz": "NumPy arrays: write",
    "data_batch_1": "pickles, as CIFAR has them: pickles .* never read here; CIFAR's binary version is",
    "b.zip": "archives: unpack them",
    "1.dcm": "DICOM: convert it to PNG with 16 bits first",
    "IMG.CR2": "camera raw: develop",
    "x.jxl": "pictures of a kind that is not read: convert",
}


@pytest.mark.parametrize("name", FORMS)
def test_a_source_without_pictures_says_what_it_holds(tmp_path: Path, name: str) -> None:
    source = folder(tmp_path / "in", {name: b"x", "README.md": b"y"})
    with pytest.raises(UserError, match=rf"holds no images but 1 .*{name}.*; that looks like {FORMS[name]}"):
        call(tmp_path, source)
    if "tar" not in name and name != "b.zip" and not name.endswith(".gz"):
        with pytest.raises(UserError, match=rf"{name}: looks like .*, which is not read; "):
            call(tmp_path, source / name)


def test_forms_by_content() -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(2))
    for start, name in (
        (buffer.getvalue(), "NumPy"),
        (b"PAR1" + bytes(9), "Parquet"),
        (b"\x89HDF\r\n", "HDF5"),
    ):
        form = form_of("no-suffix", start)
        assert form is not None
        assert name in form.name
    assert form_of("notes.txt", b"words") is None


def test_one_picture_is_no_source(tmp_path: Path) -> None:
    folder(tmp_path, {"a.png": plain(1)})
    with pytest.raises(UserError, match=r"a.png: is one picture; give the folder that it lies in"):
        call(tmp_path, tmp_path / "a.png")


def test_backslashes_in_a_zip_are_folders(tmp_path: Path) -> None:
    files = {f"photos\\c{n % 2}\\{n}.png": plain(n) for n in range(4)}
    files["photos\\Thumbs.db"] = b"x"
    files["photos\\.hidden\\x.png"] = plain(9)
    report = call(tmp_path, _in_zip(tmp_path, files))
    assert labels_of(tmp_path / "out") == {f"photos/c{n % 2}/{n}.png": f"c{n % 2}" for n in range(4)}
    assert report.others.words() == "1 .db (photos/Thumbs.db)"


def _farm(root: Path) -> Path:
    """Two classes that are links to folders elsewhere, and one of links to files."""
    store = folder(root / "store", {f"{c}/{n}.png": plain(n) for c in "abc" for n in range(2)})
    farm = root / "farm"
    (farm / "c").mkdir(parents=True)
    for c in "ab":
        (farm / c).symlink_to(store / c)
    for n in range(2):
        (farm / f"c/{n}.png").symlink_to(store / f"c/{n}.png")
    return farm


def test_links_are_followed_if_asked(tmp_path: Path) -> None:
    farm = _farm(tmp_path)
    with pytest.raises(UserError, match=r"holds no images \(the first of 4: a: is a link to a folder, which"):
        call(tmp_path, farm)
    report = call(tmp_path, farm, follow_links=True)
    assert labels_of(tmp_path / "out") == {f"{c}/{n}.png": c for c in "abc" for n in range(2)}
    assert report.skipped == []


def test_followed_links_end(tmp_path: Path) -> None:
    farm = _farm(tmp_path)
    (farm / "c/up").symlink_to(farm)  # a loop
    (farm / "c/self").symlink_to(farm / "c")
    (farm / "d").symlink_to(tmp_path)  # all of it, from above
    (farm / "gone").symlink_to(tmp_path / "nothing")
    report = call(tmp_path, farm, follow_links=True, labels="none")
    names = {f"{c}/{n}.png" for c in "abc" for n in range(2)} | {f"d/store/c/{n}.png" for n in range(2)}
    assert set(stored(tmp_path / "out")) == names
    again = "is a folder that is listed already under another name"
    assert dict(report.skipped) == {
        "c/self": again, "c/up": again, "d/farm": again, "d/store/a": again, "d/store/b": again,
        "gone": "is a link to nothing",
    }  # fmt: skip


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = folder(tmp_path / "in", {"a/0.png": plain(1), "b/0.png": plain(2)})
    scan = os.scandir

    def refuse(path: Any) -> Any:
        if str(path).endswith("/b"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    report = prepare(source, tmp_path / "out", workers=1)
    assert report.skipped == [("b", "cannot be listed (Permission denied)")]
