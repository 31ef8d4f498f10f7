"""Places of others' images: nothing that changed since, in shard, places or index, is taken for a sample."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import tarfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.shards import places
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.places import Place, pack_places, parse_places, place_in, read_places
from pipeline.data.shards.rows import Shard
from pipeline.data.shards.verify import verify
from pipeline.data.streaming.numbered import read_uint8
from pipeline.errors import Damaged, RunFailed, UserError
from tests.data.foreign import counting, in_place, write_shards
from tests.data.sets import draw_global, numbers

_TEXT = st.text(st.characters(exclude_categories=("C",)), min_size=1, max_size=30)
_PLACE = st.builds(
    Place,
    st.integers(0, 2**62),
    st.integers(1, 2**62),
    st.integers(0, 2**32 - 1),
    st.sampled_from(("png", "jpg", "webp")),
    _TEXT,
    _TEXT | st.just(""),
)


@given(st.lists(_PLACE, min_size=1, max_size=8))
def test_places_come_back_and_numpy_reads_them(some: list[Place]) -> None:
    data = pack_places(some)
    table = parse_places(data)
    assert [place_in(table, n) for n in range(len(table))] == some
    assert (np.load(io.BytesIO(data), allow_pickle=False) == table).all()


SHARD = "00001.tar"  # samples 16 to 31, in the order of the tar


@pytest.fixture
def root(tmp_path: Path) -> Path:
    in_place(write_shards(tmp_path / "theirs", counting(48)), tmp_path / "out")
    return tmp_path


def _image_of(root: Path, number: int) -> tuple[int, int]:
    with tarfile.open(root / "theirs" / SHARD) as tar:
        member = tar.getmember(f"a/{number:06d}.png")
        return member.offset_data, member.size


def _flip(root: Path) -> None:
    path = root / "theirs" / SHARD
    data = bytearray(path.read_bytes())
    data[_image_of(root, 20)[0] + 50] ^= 1
    path.write_bytes(data)


def _swap_images(root: Path) -> None:
    path = root / "theirs" / SHARD
    data, ((a, size), (b, other)) = bytearray(path.read_bytes()), (_image_of(root, n) for n in (20, 21))
    assert size == other
    data[a : a + size], data[b : b + size] = data[b : b + size], data[a : a + size]
    path.write_bytes(data)


def _cut(root: Path) -> None:
    path = root / "theirs" / SHARD
    path.write_bytes(path.read_bytes()[: _image_of(root, 24)[0] + 10])


def _remove(root: Path) -> None:
    (root / "theirs" / SHARD).unlink()


def _remove_places(root: Path) -> None:
    (root / "out/00001.places").unlink()


def _flip_places(root: Path) -> None:
    path = root / "out/00001.places"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1  # the class of the last sample
    path.write_bytes(data)


def _rewrite(change: Callable[[Any], None]) -> Callable[[Path], None]:
    """Changes the places, and states their new sha256 in the index, as one who forges both would."""

    def rewrite(root: Path) -> None:
        path = root / "out/00001.places"
        table = parse_places(path.read_bytes()).copy()
        change(table)
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, table, version=(1, 0), allow_pickle=False)
        path.write_bytes(buffer.getvalue())
        index = json.loads((root / "out/index.json").read_text())
        index["shards"][1]["places"] = hashlib.sha256(buffer.getvalue()).hexdigest()
        (root / "out/index.json").write_text(json.dumps(index))

    return rewrite


def _set(column: str, value: Any) -> Callable[[Any], None]:
    def change(table: Any) -> None:
        table[column][4] = value

    return change


def _swap(column: str) -> Callable[[Any], None]:
    def change(table: Any) -> None:
        table[column][[4, 5]] = table[column][[5, 4]]

    return change


def _reach_far(table: Any) -> None:
    table["bytes"][4] = table["offset"][-1]  # fits the shard, but not behind its own offset


WHOLE = set(range(16, 32))
BEYOND = "names bytes beyond the"
APART = "image, label and name do not belong together"
# (what is done, samples that are lost by it, what the error says)
TABLE: dict[str, tuple[Callable[[Path], None], set[int], str]] = {
    "bit flip in an image": (_flip, {20}, rf"sample 4: a/000020.png: {APART}"),
    "images swapped": (_swap_images, {20, 21}, APART),
    "cut": (_cut, set(range(24, 32)), "a/0000(2[4-9]|3.).png: the shard is shorter than when it was indexed"),
    "gone": (_remove, WHOLE, r"theirs/00001\.tar: sample \d+: cannot be read"),
    "places gone": (_remove_places, WHOLE, r"out/00001\.places: missing"),
    "bit flip in places": (_flip_places, WHOLE, r"out/00001\.places: its sha256 is not as the index says"),
    "offsets swapped": (_rewrite(_swap("offset")), {20, 21}, APART),
    "labels swapped": (_rewrite(_swap("label")), {20, 21}, APART),
    "names swapped": (_rewrite(_swap("name")), {20, 21}, APART),
    "an offset moved": (_rewrite(lambda table: table["offset"].__iadd__(1)), WHOLE, APART),
    "another class": (_rewrite(_set("label", b"7")), {20}, APART),
    "another format": (_rewrite(_set("format", b"pkl")), WHOLE, "names a format that is not read"),
    "a negative offset": (_rewrite(_set("offset", -1)), WHOLE, BEYOND),
    "bytes beyond the end": (_rewrite(_set("bytes", 2**62)), WHOLE, BEYOND),
    "bytes a little beyond the end": (_rewrite(_reach_far), WHOLE, BEYOND),
    "an offset beyond the end": (_rewrite(_set("offset", 2**63 - 1)), WHOLE, BEYOND),
    "no bytes": (_rewrite(_set("bytes", 0)), WHOLE, BEYOND),
}


@pytest.mark.parametrize("case", TABLE)
def test_an_error_names_shard_and_image(root: Path, case: str) -> None:
    damage, _, message = TABLE[case]
    damage(root)
    index = ShardIndex.read(root / "out", damaged="skip")
    with pytest.raises(UserError, match=message) as caught:
        draw_global(index, [(48, 1)])
    assert "00001" in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError):
        list(read_uint8(index))
    with pytest.raises(UserError):
        verify(index)


@pytest.mark.parametrize("case", TABLE)
def test_skip_keeps_all_good_samples_and_pairs_them_rightly(root: Path, case: str) -> None:
    damage, lost, _ = TABLE[case]
    damage(root)
    index = ShardIndex.read(root / "out", damaged="skip")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # draw_global itself checks every label against its image.
        images, _ = draw_global(index, [(48, 2)], on_damage="skip")
    assert len([w for w in caught if "on_damage=skip" in str(w.message)]) == 1
    assert set(numbers(images[:48]).tolist()) == set(range(48)) - lost


def test_a_disk_that_fails_is_no_damage(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(path: Path, most: int) -> bytes:
        raise Damaged(f"{path}: cannot be read") from OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(places, "read_bytes", failing)
    with pytest.raises(RunFailed, match="cannot be read: the disk, or the way to it, fails"):
        draw_global(ShardIndex.read(root / "out"), [(48, 1)])


def test_places_that_are_gone_are_told_before_anything_is_read(root: Path) -> None:
    _remove_places(root)
    with pytest.raises(UserError, match=r"out/00001\.places: missing; index\.json needs it"):
        ShardIndex.read(root / "out")


def test_a_class_that_the_index_does_not_know(root: Path) -> None:
    path = root / "out/index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "classes": ["0", "1"]}))
    with pytest.raises(UserError, match=r"a/000002\.png: class '2' is not in the index"):
        list(read_uint8(ShardIndex.read(root / "out")))


def test_what_is_beside_the_images_is_noticed_by_the_full_check(root: Path) -> None:
    path = root / "theirs" / SHARD
    data = bytearray(path.read_bytes())
    data[20] ^= 1  # in the name of a .cls
    path.write_bytes(data)
    index = ShardIndex.read(root / "out")
    draw_global(index, [(48, 1)])
    with pytest.raises(UserError, match=r"theirs/00001\.tar: shard damaged: its sha256 is"):
        verify(index)


ENTRY = {"name": "a.tar", "count": 1, "bytes": 2048, "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("data_root", "/etc", r"data_root: '/etc'; must be a folder, relative to that of the index"),
        ("data_root", "a/../../b", "data_root: 'a/"),
        ("data_root", "../theirs/", "data_root: "),
        ("data_root", "a\0b", "data_root: "),
        ("data_root", 3, "data_root: 3; must"),
        ("shards", [ENTRY], "places: must be str"),
        (
            "shards",
            [{**ENTRY, "places": "../x", "left_out": 0}],
            r"shards\[0\].places: must be 64 hex",
        ),
        (
            "shards",
            [{**ENTRY, "name": "../a.tar"}],
            r"shards\[0\].name",
        ),
    ],
)
def test_a_wrong_index_names_file_and_key(root: Path, key: str, value: Any, message: str) -> None:
    path = root / "out/index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(UserError, match=message) as caught:
        ShardIndex.read(root / "out")
    assert str(path) in str(caught.value)


def test_without_its_folder_an_index_of_others_is_none(root: Path) -> None:
    path = root / "out/index.json"
    content = json.loads(path.read_text())
    del content["data_root"]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="data_root: None; must be a folder"):
        ShardIndex.read(root / "out")


def _saved(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


FILES = {
    "empty": b"",
    "no array": b"x" * 300,
    "numbers": _saved(np.arange(3)),
    "a pickle": _saved(np.array([{}], dtype=object)),
    "other columns": _saved(np.zeros(1, [("offset", "<i8"), ("name", "S4"), ("label", "S4")])),
    "pickled names": _saved(np.zeros(1, [("offset", "<i8"), ("name", "O"), ("label", "S4")])),
    "cut": pack_places([Place(1, 2, 3, "png", "a", "b")])[:-1],
    "longer": pack_places([Place(1, 2, 3, "png", "a", "b")]) + b"x",
}


@pytest.mark.parametrize("case", FILES)
def test_what_are_no_places(tmp_path: Path, case: str) -> None:
    data = FILES[case]
    (tmp_path / "a.places").write_bytes(data)
    shard = Shard("a.tar", 1, 2048, "0" * 64, hashlib.sha256(data).hexdigest())
    with pytest.raises(Damaged, match=r"a\.places: "):
        read_places(tmp_path, shard)


def test_more_places_than_the_index_says(root: Path) -> None:
    index = json.loads((root / "out/index.json").read_text())
    index["shards"][1]["count"], index["count"] = 17, 49
    (root / "out/index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"00001\.places: has the shape \[16\], the index says 17 samples"):
        draw_global(ShardIndex.read(root / "out"), [(49, 1)])
