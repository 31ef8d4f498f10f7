"""Parquet, Arrow and what Hugging Face's `datasets` saves, as sources."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.reader import ShardReader
from pipeline.data.sources import parquet, unpacked
from pipeline.data.sources.numbered import Numbered
from pipeline.data.sources.splits import one_split
from pipeline.errors import UserError
from tests.data.feeds import call, file, folder, noise, plain, stored
from tests.data.forms import CLASSES, from_folder, made, pictures
from tests.data.tables import cached, dataset, feather, hub, large_types, plain_parquet, saved, saved_split

MAKERS = (saved, saved_split, hub, cached, plain_parquet, large_types, feather)


@pytest.mark.parametrize("make", MAKERS)
def test_tables_become_what_a_folder_of_their_pictures_becomes(
    tmp_path: Path, make: Callable[[Path, list[bytes]], str]
) -> None:
    data = pictures()
    source = make(tmp_path, data)
    report = call(tmp_path, source, workers=2)
    assert report.classes == CLASSES
    assert report.skipped == []
    assert made(tmp_path / "out") == from_folder(tmp_path, data)


@pytest.mark.parametrize("workers", [1, 3])
def test_groups_too_large_to_decode_for_each_picture_are_unpacked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, capsys: pytest.CaptureFixture[str]
) -> None:
    data = pictures(40)
    source = hub(tmp_path, data)
    monkeypatch.setattr(parquet, "_MOST_GROUP_BYTES", 2000)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "aside"))
    (tmp_path / "aside").mkdir()
    call(tmp_path, source, workers=workers)
    assert made(tmp_path / "out") == from_folder(tmp_path, data)
    assert "unpack" in capsys.readouterr().err
    assert list((tmp_path / "aside").iterdir()) == []


def test_names_say_the_file_and_the_row(tmp_path: Path) -> None:
    report = call(tmp_path, hub(tmp_path, [*pictures(6), b"no picture"]))
    assert report.skipped == [("data/train-00001-of-00002/000002", "not an image of a known kind")]
    names = {f"data/train-0000{n // 4}-of-00002/{n % 4:06d}" for n in range(6)}
    assert set(stored(tmp_path / "out")) == names
    assert "classes (column label): cat 2, dog 2, ox 2" in report.lines()[1]


def test_numbered_names_are_a_sequence() -> None:
    names, every = Numbered(["a", "b", "c"], [2, 0, 3]), []
    for name, count in (("a", 2), ("c", 3)):
        every += [f"{name}/{row:06d}" for row in range(count)]
    assert list(names) == every
    assert names[1:4] == every[1:4]
    assert names[-1] == every[-1]
    with pytest.raises(IndexError):
        names[5]


def test_paths_alone_are_read_inside_the_folder_only(tmp_path: Path) -> None:
    inside = folder(tmp_path / "set", {"a.png": plain(7), "b/c": plain(8)})
    (tmp_path / "b.png").write_bytes(plain(9))
    paths = ["b/c", "a.png", "../b.png", str(tmp_path / "b.png"), "gone.png"]
    rows = [{"bytes": None, "path": path} for path in paths]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"image": pa.array(rows, kind)}), inside / "x.parquet")
    report = call(tmp_path, inside / "x.parquet")
    assert [image[0, 0, 0] for _, image in sorted(stored(tmp_path / "out").items())] == [8, 7]
    assert sorted(report.skipped) == [
        ("x/000002", "is a path alone, ../b.png, which leads out of set"),
        ("x/000003", f"is a path alone, {tmp_path}/b.png, which leads out of set"),
        ("x/000004", "is a path alone, gone.png, and no such file lies in set"),
    ]


def test_a_folder_with_pictures_stays_a_folder(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", {"a.png": plain(1), "b/c.png": plain(2)})
    plain_parquet(source, pictures())
    report = call(tmp_path, source, labels="none")
    assert set(stored(tmp_path / "out")) == {"a.png", "b/c.png"}
    assert report.others.words() == "1 .parquet (x.parquet)"


def test_columns_are_chosen(tmp_path: Path) -> None:
    rows = {"real": [plain(1), plain(2)], "mask": [plain(8), plain(9)], "who": ["x", "y"], "label": [0, 0]}
    pq.write_table(pa.table(rows), tmp_path / "x.parquet")
    report = call(tmp_path, tmp_path / "x.parquet", image_column="mask", label_column="who")
    assert [image[0, 0, 0] for _, image in sorted(stored(tmp_path / "out").items())] == [8, 9]
    assert (report.classes, report.labels_from) == (("x", "y"), "column who")


def test_what_comes_before_a_cut_in_a_stream_is_kept(tmp_path: Path) -> None:
    dataset(pictures(10)).save_to_disk(tmp_path / "set")
    path = tmp_path / "set/data-00000-of-00001.arrow"
    table = pa.ipc.open_stream(path.read_bytes()).read_all()
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=4)
    path.write_bytes(path.read_bytes()[:-600])
    report = call(tmp_path, tmp_path / "set")
    assert report.count == 8
    ((name, reason),) = report.skipped
    assert name == path.name
    assert reason.endswith("; what comes before is taken")


@pytest.mark.parametrize("most", [1 << 40, 10])
def test_damage_in_one_group_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(parquet, "_MOST_GROUP_BYTES", most)
    path = Path(plain_parquet(tmp_path, pictures(12)))
    place = pq.ParquetFile(path).metadata.row_group(1).column(0)
    data = bytearray(path.read_bytes())
    start = place.data_page_offset if place.dictionary_page_offset is None else place.dictionary_page_offset
    data[start : start + 60] = bytes(60)
    path.write_bytes(data)
    report = call(tmp_path, path, labels="none")
    assert report.count == 8
    assert {name for name, _ in report.skipped if "/" in name} == {f"x/{n:06d}" for n in range(4, 8)}


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = plain_parquet(tmp_path, pictures(1))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"x.parquet: reading .* pip install 'hrgan\[sources\]'$"):
        call(tmp_path, source)


def test_links_out_of_the_folder_are_followed_if_asked(tmp_path: Path) -> None:
    """As the cache of the hub has them."""
    hub(tmp_path, pictures(4))
    for path in [*(tmp_path / "set").rglob("*.parquet")]:
        path.rename(tmp_path / path.name)
        path.symlink_to(tmp_path / path.name)
    with pytest.raises(
        UserError, match=r"test-00000.*: is a link out of the folder; --follow-links follows it"
    ):
        call(tmp_path, f"{tmp_path / 'set'}:train")
    assert call(tmp_path, f"{tmp_path / 'set'}:train", follow_links=True).count == 4


def test_damage_in_a_batch_leaves_the_others(tmp_path: Path) -> None:
    """Offsets that lead out of their buffer, which nobody may follow."""
    table = pa.table({"image": pictures(12)})
    with pa.ipc.new_stream(tmp_path / "x.arrow", table.schema) as writer:
        writer.write_table(table, max_chunksize=4)
    data = (tmp_path / "x.arrow").read_bytes()
    offsets = pa.array(pictures(12)[4:8], pa.binary()).buffers()[1].to_pybytes()[:20]
    assert data.count(offsets) == 1
    (tmp_path / "x.arrow").write_bytes(data.replace(offsets, b"\0\0\0\0" + b"\xff\xff\xff\x7f" * 4))
    report = call(tmp_path, tmp_path / "x.arrow")
    assert report.count == 8
    assert {name for name, _ in report.skipped} == {f"x/{n:06d}" for n in range(4, 8)}


@pytest.mark.parametrize("name", ["x.parquet", "x.arrow", "data.mdb", "x.mp4"])
def test_inside_an_archive_they_are_named_with_advice(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(
        UserError, match=rf"holds no images but 1 .* \({name}\); that looks like .*: give it, or"
    ):
        call(tmp_path, tmp_path / "x.zip")


def test_texts_come_along_if_asked(tmp_path: Path) -> None:
    texts = ["a cat", " a dog ", None, "an ox"]
    pq.write_table(pa.table({"image": pictures(4), "text": texts, "n": [1, 2, 3, 4]}), tmp_path / "x.parquet")
    report = call(tmp_path, tmp_path / "x.parquet", caption_column="text")
    with ShardReader(index := ShardIndex.read(tmp_path / "out")) as reader:
        samples = [reader.read(0, member) for member in range(index.count)]
    said = {sample.meta["source"]: sample.fields["text"][1].rstrip(b"\0").decode() for sample in samples}
    assert said == {"x/000000": "a cat", "x/000001": "a dog", "x/000003": "an ox"}
    assert [name for name, _ in report.skipped] == ["x/000002"]
    with pytest.raises(UserError, match=r"--caption-column n: no such texts; allowed: text$"):
        call(tmp_path / "other", tmp_path / "x.parquet", caption_column="n")


def test_a_group_that_breaks_off_keeps_its_number_of_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "_MOST_GROUP_BYTES", 10)
    monkeypatch.setattr(unpacked, "_BATCH_BYTES", 1)  # a row at a time
    data = [file(noise(20, 20, n)) for n in range(9)]
    table, path = pa.table({"image": data}), tmp_path / "x.parquet"
    pq.write_table(
        table,
        path,
        row_group_size=6,
        data_page_size=1,
        use_dictionary=False,
        compression="none",
        write_batch_size=1,
    )
    content = bytearray(path.read_bytes())
    place = content.index(data[3])
    content[place - 4 : place] = b"\xff\xff\xff\x7f"  # its length
    path.write_bytes(content)
    report = call(tmp_path, path)
    assert set(stored(tmp_path / "out")) == {f"x/{n:06d}" for n in (0, 1, 2, 6, 7, 8)}
    assert dict(report.skipped)["x.parquet"].endswith("; 3 rows of group 0 are lost")


SPLITS = {
    "data/train-00000-of-00012.parquet": "train",
    "data/train-00000-of-00001-0123456789abcdef.parquet": "train",
    "data/train_clean-00000-of-00001.parquet": "train_clean",
    "default/validation/0000.parquet": "validation",
    "test.parquet": "test",
    "photos.parquet": "",
    "imagefolder-train-00001-of-00002.arrow": "train",
    "my_set-test.arrow": "test",
    "contest.parquet": "",
}


@pytest.mark.parametrize("name", SPLITS)
def test_splits_are_told_by_names(name: str) -> None:
    other = "unlabelled-00000-of-00001.parquet"
    if SPLITS[name]:
        assert one_split([name, other], SPLITS[name], "set") == [name]
    assert one_split([name], None, "set") == [name]
    with pytest.raises(
        UserError, match=rf"set: has the splits .*unlabelled; .*{SPLITS[name] or 'set:unlabelled'}"
    ):
        one_split([name, other], None, "set")
