"""LMDB databases as sources."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path

import lmdb
import pytest

from pipeline.errors import UserError
from tests.data.feeds import call, labels_of, noise, plain, stored
from tests.data.forms import from_folder, label, made, pictures


def _database(path: Path, values: Mapping[str, bytes], subdir: bool = True) -> Path:
    with lmdb.open(str(path), map_size=1 << 26, subdir=subdir) as database, database.begin(write=True) as put:
        for key, value in values.items():
            put.put(key.encode(), value)
    return path


@pytest.mark.parametrize("subdir", [True, False])
@pytest.mark.parametrize("workers", [1, 3])
def test_lsuns_databases_become_what_a_folder_becomes(tmp_path: Path, subdir: bool, workers: int) -> None:
    data = pictures(40)
    keys = sorted(hashlib.sha1(one).hexdigest() for one in data)  # LMDB's order
    path = tmp_path / ("bedroom_train_lmdb" if subdir else "bedroom.mdb")
    _database(path, dict(zip(keys, data, strict=True)), subdir)
    report = call(tmp_path, path, workers=workers)
    assert report.classes == ()
    assert made(tmp_path / "out") == from_folder(tmp_path, data, labelled=False)
    assert set(stored(tmp_path / "out")) == set(keys)


def test_it_is_only_read(tmp_path: Path) -> None:
    path = _database(tmp_path / "in", {"a": plain(1), "b": plain(2)})
    (path / "lock.mdb").unlink()
    path.chmod(0o500)
    before = (path / "data.mdb").read_bytes()
    assert call(tmp_path, path).count == 2
    assert [file.name for file in path.iterdir()] == ["data.mdb"]
    assert (path / "data.mdb").read_bytes() == before


def test_labels_lie_beside_images(tmp_path: Path) -> None:
    data = pictures()
    values = {f"image-{n:09d}": one for n, one in enumerate(data)}
    values |= {f"label-{n:09d}": label(n).encode() for n in range(len(data))}
    path = _database(tmp_path / "in", values | {"num-samples": b"13"})
    report = call(tmp_path, path)
    assert made(tmp_path / "out") == from_folder(tmp_path, data)
    assert report.labels_from == "label keys"
    assert labels_of(tmp_path / "out")["image-000000003"] == label(3)


def test_one_label_that_is_lacking_is_named(tmp_path: Path) -> None:
    values = {"image-1": plain(1), "image-2": plain(2), "label-1": b"x"}
    path = _database(tmp_path / "in", values)
    with pytest.raises(
        UserError, match=r"image-2: has no label while others have; or allowed: --labels none"
    ):
        call(tmp_path, path)
    assert call(tmp_path, path, labels="none").count == 2


@pytest.mark.parametrize(("asked", "taken"), [(None, 64), (16, 16), (20, 32), (32, 32), (100, 64)])
def test_one_of_several_resolutions_is_taken(
    tmp_path: Path, asked: int | None, taken: int, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {f"{side}-{n:05d}": plain(side + n, (side, side)) for side in (16, 32, 64) for n in range(3)}
    path = _database(tmp_path / "in", values | {"length": b"3"})
    call(tmp_path, path, resolution=asked)
    got = stored(tmp_path / "out")
    assert {name: image[0, 0, 0] for name, image in got.items()} == {
        f"{taken}-{n:05d}": taken + n for n in range(3)
    }
    assert f"has pictures of 16, 32, 64 pixels; those of {taken} are taken" in capsys.readouterr().err


def test_a_value_that_is_no_picture_is_named_and_the_rest_kept(tmp_path: Path) -> None:
    values = {f"{n:03d}": plain(n) for n in range(70)} | {"099": b"words", "100": b""}
    report = call(tmp_path, _database(tmp_path / "in", values))
    assert report.count == 70
    assert sorted(report.skipped) == [("099", "not an image of a known kind"), ("100", "is empty")]


_DATUM = b"\x08\x03\x10\x10\x18\x10\x22\x80\x06" + noise(16, 16).tobytes()  # channels, height, width, data
REFUSED = {
    "pickles": (
        pickle.dumps((1, 2)),
        r"values are pickles, which can run code .* \(key \"?'key'\"?\); allowed",
    ),
    "datums": (_DATUM, "values are Caffe's datums, which hold bare pixels"),
    "large datums": (b"\x08\x03\x10\x80\x02\x18\x80\x02" + bytes(99), "values are Caffe's datums"),
    "arrays": (b"\x93NUMPY\1\0" + bytes(99), "values are NumPy arrays"),
    "words": (b"hello", "values are no encoded pictures"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_values_are_refused_by_name(tmp_path: Path, name: str) -> None:
    value, line = REFUSED[name]
    with pytest.raises(UserError, match=line):
        call(tmp_path, _database(tmp_path / "in", {"key": value}))


def _halved(data: bytes) -> bytes:
    return data[: len(data) // 8192 * 4096]


def _page_lost(data: bytes) -> bytes:
    return data[:8192] + b"\xff" * 4096 + data[12288:]


DAMAGED = {
    "empty": (lambda data: b"", "data.mdb: is no LMDB database that can be read"),
    "another file": (lambda data: b"\0\1\0\0Standard Jet DB\0" * 400, "is no LMDB database that can be read"),
    "cut off": (_halved, r"data.mdb: (the database is damaged|is no LMDB database that can be read) \("),
    "overwritten": (_page_lost, r"data.mdb: the database is damaged \(.*faults in all\)"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_told_before_the_library_follows_it(tmp_path: Path, name: str) -> None:
    harm, line = DAMAGED[name]
    path = _database(tmp_path / "in", {f"{n:03d}": plain(n, (64, 64)) * 9 for n in range(99)})
    (path / "data.mdb").write_bytes(harm((path / "data.mdb").read_bytes()))
    with pytest.raises(UserError, match=line) as caught:
        call(tmp_path, path)
    assert "\n" not in str(caught.value)


def test_of_several_databases_one_must_be_given(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in "ab":
        _database(tmp_path / f"in/{name}.lmdb", {})
    with pytest.raises(
        UserError, match=r"in: holds several databases \(a.lmdb/data.mdb, b.lmdb/data.mdb\); give"
    ):
        call(tmp_path, tmp_path / "in")


def test_keys_that_no_text_has(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path / "in")) as database, database.begin(write=True) as put:
        for n in range(3):
            put.put(bytes([255, n]), plain(n))
    assert call(tmp_path, tmp_path / "in").count == 3
