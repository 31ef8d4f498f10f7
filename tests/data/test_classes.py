"""What becomes a class of whose own accord, and what is asked first."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from pipeline.data.shards.export import export
from pipeline.data.shards.index import ShardIndex
from pipeline.errors import UserError
from tests.data.feeds import Bytes, call, folder, labels_of, plain


def _pictures(*names: str) -> Bytes:
    return {name: plain(n % 200) for n, name in enumerate(names)}


def _zip(root: Path, files: Bytes) -> Path:
    with zipfile.ZipFile(root / "in.zip", "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return root / "in.zip"


def _tar(root: Path, files: Bytes) -> Path:
    with tarfile.open(root / "in.tar", "w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return root / "in.tar"


SOURCES: dict[str, Callable[[Path, Bytes], Path]] = {
    "folder": lambda root, files: folder(root / "in", files),
    "zip": _zip,
    "tar": _tar,
}
FFHQ = [f"{n // 1000:05d}/img{n:08d}.png" for n in (0, 1, 1000, 1001, 2000, 2001)]
AFHQ = [f"{split}/{kind}/{n}.png" for split in ("train", "val") for kind in ("cat", "dog") for n in range(2)]


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("above", ["", "ffhq/"])
def test_labels_that_the_source_brings_along(tmp_path: Path, kind: str, above: str) -> None:
    labels = json.dumps({"labels": [[name, n % 2] for n, name in enumerate(FFHQ)]}).encode()
    files = {**_pictures(*(above + name for name in FFHQ)), f"{above}dataset.json": labels}
    report = call(tmp_path, SOURCES[kind](tmp_path, files))
    assert labels_of(tmp_path / "out") == {above + name: str(n % 2) for n, name in enumerate(FFHQ)}
    assert f"classes (the source's own {above}dataset.json): 0 3, 1 3" in report.lines()
    assert not report.others


@pytest.mark.parametrize("kind", SOURCES)
def test_a_source_may_say_that_it_has_no_labels(tmp_path: Path, kind: str) -> None:
    files = {**_pictures(*FFHQ), "dataset.json": b'{"labels": null}'}
    report = call(tmp_path, SOURCES[kind](tmp_path, files))
    assert ShardIndex.read(tmp_path / "out").classes == ()
    assert "no classes (the source's own dataset.json)" in report.lines()


def test_what_the_source_says_may_be_overruled(tmp_path: Path) -> None:
    files = {**_pictures("a/0.png", "b/1.png"), "dataset.json": b'{"labels": [["a/0.png", 3]]}'}
    source = folder(tmp_path / "in", files)
    message = r"in: dataset.json: no class for b/1.png .*; or allowed: --labels none, folders, or"
    with pytest.raises(UserError, match=message):
        call(tmp_path, source)
    assert call(tmp_path, source, labels="folders").classes == ("a", "b")
    assert prepare(source, tmp_path / "none", Asked(labels="none"), workers=1).classes == ()


def test_a_label_file_below_the_pictures_is_none_of_theirs(tmp_path: Path) -> None:
    files = {**_pictures("a/0.png", "b/1.png"), "a/dataset.json": b'{"labels": null}'}
    report = call(tmp_path, folder(tmp_path / "in", files))
    assert report.classes == ("a", "b")
    assert report.others.words() == "1 .json (a/dataset.json)"


def test_an_exported_set_has_its_classes_again(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", _pictures("äpfel/0.png", "äpfel/1.png", "b c/2.png"))
    call(tmp_path, source)
    export(ShardIndex.read(tmp_path / "out"), tmp_path / "files.zip")
    prepare(tmp_path / "files.zip", tmp_path / "again", workers=1)
    assert ShardIndex.read(tmp_path / "again").classes == ("b c", "äpfel")
    assert sorted(labels_of(tmp_path / "again").values()) == ["b c", "äpfel", "äpfel"]


# names, what is said
HARDLY_CLASSES: dict[str, tuple[list[str], str]] = {
    "splits": (AFHQ, r": its folders train, val are hardly .*--labels folders:2 \(the folders in them: cat"
               r", dog\), --labels folders .*, --labels none, or one of them as SOURCE \(\S*/train\)"),
    "flat splits": (["train/a.png", "test/b.png"], r"folders test, train are .* --labels folders \("),
    "splits of years": (["train2017/a.png", "Val2017/b.png"], "hardly classes"),
    "pictures and masks": (["images/a.png", "masks/a.png"], "folders images, masks are hardly"),
    "blocks": (FFHQ, r"folders 00000, 00001, 00002 look like blocks.*--labels none.*--labels folders"),
    "blocks of thousands": (["00000/00007.png", "01000/01000.png", "02000/02999.png"], "look like blocks"),
    "blocks, not padded": (["0/12.png", "0/99.png", "1/100.png", "12/1234.png"], "look like blocks"),
}  # fmt: skip


@pytest.mark.parametrize("case", HARDLY_CLASSES)
@pytest.mark.parametrize("kind", SOURCES)
def test_folders_that_are_hardly_classes_are_asked_about(tmp_path: Path, case: str, kind: str) -> None:
    names, message = HARDLY_CLASSES[case]
    source = SOURCES[kind](tmp_path, _pictures(*names))
    with pytest.raises(UserError, match=message) as caught:
        call(tmp_path, source)
    assert "\n" not in str(caught.value)
    tops = {name.split("/")[0] for name in names}
    assert set(call(tmp_path, source, labels="folders").classes) == tops
    assert prepare(source, tmp_path / "none", Asked(labels="none"), workers=1).classes == ()


CLASSES: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "words": (["cat/0.png", "train/0.png"], ("cat", "train")),
    "digits, each numbered from 0": ([f"{c}/{n}.png" for c in range(10) for n in range(3)],
                                     tuple(map(str, range(10)))),
    "numbers that are not in order": (["0/0812.png", "1/0003.png", "2/1400.png"], ("0", "1", "2")),
    "numbers of three digits": (["001/a.png", "002/b.png"], ("001", "002")),
    "below one split": (["train/cat/0.png", "train/dog/0.png"], ("cat", "dog")),
    "none": (["0.png", "1.png"], ()),
}  # fmt: skip


@pytest.mark.parametrize("case", CLASSES)
def test_folders_that_are_classes(tmp_path: Path, case: str) -> None:
    names, classes = CLASSES[case]
    assert call(tmp_path, folder(tmp_path / "in", _pictures(*names))).classes == classes


def test_folders_within_folders(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", _pictures(*AFHQ))
    report = call(tmp_path, source, labels="folders:2")
    assert labels_of(tmp_path / "out") == {name: name.split("/")[1] for name in AFHQ}
    assert "classes (folders): cat 4, dog 4" in report.lines()
    with pytest.raises(UserError, match=r"lies in no folder that could be its class \(--labels folders:3\)"):
        call(tmp_path, source, labels="folders:3")
    with pytest.raises(UserError, match=r"lies in no folder .*\(--labels folders\).*--labels none"):
        call(tmp_path, folder(tmp_path / "flat", _pictures("a.png")), labels="folders")


def test_one_class_is_none(tmp_path: Path) -> None:
    source = SOURCES["tar"](tmp_path, {**_pictures("0.png", "1.png"), "0.cls": b"7", "1.cls": b"7"})
    report = call(tmp_path, source)
    assert ShardIndex.read(tmp_path / "out").spec.classes == 0
    assert report.lines()[0].startswith(f"{tmp_path / 'out'}: 2 images, ")
    assert "all images are of one class, 7: made without classes" in report.lines()


def test_classes_are_counted_as_they_are_in_the_set(tmp_path: Path) -> None:
    files = {**_pictures("cat/0.png", "cat/1.png", "dog/0.png"), "dog/broken.png": b"x"}
    source = folder(tmp_path / "in", files)
    assert "classes (folders): cat 2, dog 1" in call(tmp_path, source).lines()
    assert "classes (folders): cat 2, dog 1" in call(tmp_path, source).lines()  # finished before
    names = [f"c{c:02d}/{n}.png" for c in range(20) for n in range(c + 1)]
    many = folder(tmp_path / "many", _pictures(*names))
    (line,) = [x for x in prepare(many, tmp_path / "2", workers=1).lines() if x.startswith("classes")]
    assert line.endswith("c11 12, ... (20 in all, of 1 to 20 images)")


def test_folders_for_a_source_that_says_itself(tmp_path: Path) -> None:
    """A flat tar with .cls always had its classes under --labels folders."""
    source = SOURCES["tar"](tmp_path, {**_pictures("0.png", "1.png"), "0.cls": b"x", "1.cls": b"y"})
    assert call(tmp_path, source, labels="folders").classes == ("x", "y")
