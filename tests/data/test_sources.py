"""Archives and label files as sources."""

from __future__ import annotations

import errno
import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.data.archives import zips
from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from pipeline.data.shards.index import ShardIndex
from pipeline.data.streaming.numbered import read_uint8
from pipeline.errors import RunFailed, UserError
from tests.data.feeds import call, file, folder, labels_of, noise, plain, stored


def _zip(path: Path, files: list[tuple[str, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return path


def _tar(path: Path, files: list[tuple[str, bytes]], links: dict[str, str] | None = None) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return path


@pytest.mark.parametrize("make", [_zip, _tar])
def test_archives_give_what_their_folder_gives(tmp_path: Path, make: Callable[..., Path]) -> None:
    files = {f"top/{c}/{n} é.png": plain(16 * n + ord(c) % 16) for c in "ab" for n in range(6)}
    source = folder(tmp_path / "in", files)
    archive = make(tmp_path / "x.bin", [*files.items(), ("__MACOSX/x.png", b""), ("top/notes.txt", b"")])
    report = call(tmp_path, archive, workers=2)
    prepare(source, tmp_path / "out2", Asked(resolution=16), workers=1)
    assert report.classes == ("a", "b")
    got, expected = stored(tmp_path / "out"), stored(tmp_path / "out2")
    assert got.keys() == expected.keys()
    assert all(np.array_equal(got[name], expected[name]) for name in got)
    assert labels_of(tmp_path / "out") == {name: name.split("/")[1] for name in files}


@pytest.mark.parametrize("make", [_zip, _tar])
@pytest.mark.parametrize("name", ["../x.png", "/etc/x.png", "a/../../x.png", "..\\x.png", "C:\\x.png"])
def test_archives_that_reach_outside_are_refused(
    tmp_path: Path, make: Callable[..., Path], name: str
) -> None:
    archive = make(tmp_path / "x.bin", [("a.png", plain(1)), (name, plain(2))])
    with pytest.raises(UserError, match="points outside of the archive"):
        call(tmp_path, archive)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("make", [_zip, _tar])
def test_of_two_members_with_one_name_the_last_counts(tmp_path: Path, make: Callable[..., Path]) -> None:
    report = call(tmp_path, make(tmp_path / "x.bin", [("a.png", plain(1)), ("a.png", plain(2))]))
    assert report.skipped == [("a.png", "name occurs twice; the last one is taken")]
    assert stored(tmp_path / "out")["a.png"][0, 0, 0] == 2


def test_damage_in_archives_is_named(tmp_path: Path) -> None:
    path = _zip(tmp_path / "x.zip", [("a.png", plain(1)), ("b.png", file(noise(40, 40)))])
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        data[archive.getinfo("b.png").header_offset + 200] ^= 255
    path.write_bytes(data)
    assert [name for name, _ in call(tmp_path, path).skipped] == ["b.png"]
    path = _tar(tmp_path / "y.tar", [("a.png", plain(1)), ("b.png", file(noise(40, 40)))])
    path.write_bytes(path.read_bytes()[:2500])
    report = prepare(path, tmp_path / "out2", Asked(resolution=16), workers=1)
    assert report.count == 1
    assert any(name in ("b.png", "y.tar") for name, _ in report.skipped)


def test_links_in_a_tar_are_not_followed(tmp_path: Path) -> None:
    report = call(tmp_path, _tar(tmp_path / "x.tar", [("a.png", plain(1))], {"l.png": "/etc/passwd"}))
    assert report.skipped == [("l.png", "is a link or a special file")]


def test_a_data_set_is_a_source(tmp_path: Path) -> None:
    source = folder(
        tmp_path / "in", {f"{c}/{n}.png": plain(50 * "xyz".index(c) + n) for c in "xyz" for n in range(4)}
    )
    prepare(source, tmp_path / "first", Asked(resolution=16), workers=1)
    call(tmp_path, tmp_path / "first/data-00000.tar")
    index = ShardIndex.read(tmp_path / "out")
    assert (index.count, index.classes) == (12, ("0", "1", "2"))
    for images, labels, _ in read_uint8(index):
        assert (images[:, 0, 0, 0] // 50).tolist() == labels


def test_cls_for_some_only_is_refused(tmp_path: Path) -> None:
    archive = _tar(tmp_path / "x.tar", [("a.png", plain(1)), ("a.cls", b"0"), ("b.png", plain(2))])
    with pytest.raises(UserError, match=r"b.png: has no .cls while others have"):
        call(tmp_path, archive)
    assert call(tmp_path, archive, labels="none").classes == ()


@pytest.mark.parametrize(
    ("make", "place", "read"),
    [(folder, Path, "open"), (lambda path, files: _zip(path, [*files.items()]), zips, "_contents")],
    ids=("folder", "zip"),
)
@pytest.mark.parametrize(
    ("number", "fails"), [(errno.EIO, True), (errno.ESTALE, True), (errno.EACCES, False)]
)
def test_a_picture_that_a_machine_does_not_give_is_not_left_out(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[..., Path],
    place: object,
    read: str,
    number: int,
    fails: bool,
) -> None:
    source = make(tmp_path / "in", {"a.png": plain(1), "b.png": plain(2)})
    real, failed = getattr(place, read), []

    def once(path: Path, *rest: object, **options: object) -> object:
        if path.is_relative_to(source) and not failed:
            failed.append(path)
            raise OSError(number, os.strerror(number))
        return real(path, *rest, **options)

    monkeypatch.setattr(place, read, once)
    if fails:
        with pytest.raises(RunFailed, match=r"cannot read: .*; the same command goes on$"):
            call(tmp_path, source)
    assert call(tmp_path, source).count == (2 if fails else 1)
