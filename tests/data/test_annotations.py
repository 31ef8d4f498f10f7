"""Vectors and texts that label files give to pictures, and the tables that sources bring along."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.contracts import Field
from pipeline.data.preparing.listing import opened
from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from pipeline.data.shards.arrays import unpack
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.reader import read_samples
from pipeline.data.shards.verify import verify
from pipeline.data.sources.opening import source_kind
from pipeline.data.sources.source import Source, Wanted
from pipeline.errors import UserError
from tests.data.feeds import Bytes, call, fingerprint, folder, labels_of, plain
from tests.data.test_classes import SOURCES

NAMES = [f"{n // 2}/{n}.png" for n in range(6)]
VECTORS = np.random.default_rng(0).normal(size=(6, 5)).tolist()
TEXTS = ["a cat", "two dogs, one “big”", "ä\nö", "", "日本語", "five"]


def _pictures() -> Bytes:
    return {name: plain(10 * n) for n, name in enumerate(NAMES)}


def _beside(out: Path, field: str) -> dict[str, bytes]:
    index = ShardIndex.read(out)
    verify(index)
    return {sample.meta["source"]: sample.fields[field][1] for sample in read_samples(index)}


def _texts(out: Path) -> dict[str, str]:
    return {name: data.decode() for name, data in _beside(out, "text").items()}


def _jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


def _csv(rows: list[dict[str, Any]]) -> bytes:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue().encode()


ROWS = [
    {"file_name": name, "label": ["x", "y", "z"][n % 3], "text": TEXTS[n], "weight": n / 10}
    for n, name in enumerate(NAMES)
]


@pytest.mark.parametrize("kind", SOURCES)
def test_vectors_of_dataset_json_become_a_field(tmp_path: Path, kind: str) -> None:
    labels = json.dumps({"labels": [[name, VECTORS[n]] for n, name in enumerate(NAMES)]}).encode()
    source = SOURCES[kind](tmp_path, {**_pictures(), "dataset.json": labels})
    report = call(tmp_path, source, workers=2)
    index = ShardIndex.read(tmp_path / "out")
    assert (index.classes, index.fields) == ((), (Field("vector", "array", (5,), "float32"),))
    got = {name: unpack(data, (5,), "float32") for name, data in _beside(tmp_path / "out", "vector").items()}
    for n, name in enumerate(NAMES):
        assert np.array_equal(got[name], np.asarray(VECTORS[n], np.float32))
    assert "no classes (the source's own dataset.json)" in report.lines()
    assert "beside each picture: vector (array of 5)" in report.lines()


def test_other_vectors_are_another_data_set(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", _pictures())
    for factor in (1, 2):
        labels = {name: [factor * x for x in VECTORS[n]] for n, name in enumerate(NAMES)}
        (tmp_path / f"{factor}.json").write_text(json.dumps(labels))
    call(tmp_path, source, labels=tmp_path / "1.json")
    first = fingerprint(tmp_path / "out")
    call(tmp_path, source, labels=tmp_path / "1.json")
    assert fingerprint(tmp_path / "out") == first
    with pytest.raises(UserError):
        call(tmp_path, source, labels=tmp_path / "2.json")


def test_vectors_with_a_single_one_are_classes(tmp_path: Path) -> None:
    labels = {name: [float(k == n % 3) for k in range(3)] for n, name in enumerate(NAMES)}
    source = folder(tmp_path / "in", {**_pictures(), "dataset.json": json.dumps(labels).encode()})
    assert call(tmp_path, source).classes == ("0", "1", "2")
    assert ShardIndex.read(tmp_path / "out").fields == ()


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize(("name", "make"), [("metadata.jsonl", _jsonl), ("metadata.csv", _csv)])
@pytest.mark.parametrize("above", ["", "train/"])
def test_metadata_bring_classes_and_texts(
    tmp_path: Path, kind: str, name: str, make: Callable[[Any], bytes], above: str
) -> None:
    files = {above + picture: data for picture, data in _pictures().items()}
    source = SOURCES[kind](tmp_path, {**files, above + name: make(ROWS)})
    report = call(tmp_path, source, caption_column="text")
    assert labels_of(tmp_path / "out") == {above + row["file_name"]: row["label"] for row in ROWS}
    assert {n: text.replace("\r\n", "\n") for n, text in _texts(tmp_path / "out").items()} == {
        above + row["file_name"]: row["text"] for row in ROWS
    }
    assert f"beside each picture: text (at most {len(TEXTS[1].encode())} bytes)" in report.lines()
    assert not report.others


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # files that datasets leaves open
def test_metadata_mean_what_hugging_face_reads_from_them(tmp_path: Path) -> None:
    import datasets  # takes seconds

    source = folder(tmp_path / "in", {**_pictures(), "metadata.csv": _csv(ROWS)})
    table = datasets.load_dataset("imagefolder", data_dir=str(source), cache_dir=str(tmp_path / "cache"))
    call(tmp_path, source, caption_column="text")
    by_brightness = {
        int(np.asarray(row["image"])[0, 0, 0]): (row["label"], row["text"]) for row in table["train"]
    }
    labels, texts = labels_of(tmp_path / "out"), _texts(tmp_path / "out")
    got = {10 * int(Path(name).stem): (labels[name], texts[name]) for name in labels}
    assert got == {value: (label, text or "") for value, (label, text) in by_brightness.items()}


def test_metadata_name_pictures_from_where_they_lie(tmp_path: Path) -> None:
    rows = [{"file_name": "1.png", "label": "outer"}, {"file_name": "sub/1.png", "label": "inner"}]
    files = {"set/1.png": plain(1), "set/sub/1.png": plain(2), "set/metadata.csv": _csv(rows)}
    call(tmp_path, folder(tmp_path / "in", files))
    assert labels_of(tmp_path / "out") == {"set/1.png": "outer", "set/sub/1.png": "inner"}


def test_metadata_without_a_class_leave_the_folders(tmp_path: Path) -> None:
    rows = [{"file_name": row["file_name"], "text": row["text"], "kind": row["label"]} for row in ROWS]
    source = folder(tmp_path / "in", {**_pictures(), "metadata.csv": _csv(rows)})
    report = call(tmp_path, source)
    assert labels_of(tmp_path / "out") == {name: name.split("/")[0] for name in NAMES}
    assert report.others.words() == "1 .csv (metadata.csv)"
    report = prepare(source, tmp_path / "2", Asked(label_column="kind"), workers=1)
    assert report.labels_from == "the source's own metadata.csv"
    assert labels_of(tmp_path / "2") == {row["file_name"]: row["kind"] for row in rows}
    prepare(source, tmp_path / "3", Asked(labels="none", caption_column="text"), workers=1)
    index = ShardIndex.read(tmp_path / "3")
    assert (index.classes, [field.name for field in index.fields]) == ((), ["text"])


def test_a_file_with_texts(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", _pictures())
    rows = [{"name": row["file_name"], "text": row["text"]} for row in ROWS]
    (tmp_path / "t.csv").write_bytes(_csv(rows))
    report = call(tmp_path, source, labels=tmp_path / "t.csv", caption_column="text")
    assert "no classes (t.csv)" in report.lines()
    (tmp_path / "m.csv").write_bytes(_csv(ROWS))
    report = prepare(
        source, tmp_path / "2", Asked(labels=tmp_path / "m.csv", caption_column="text"), workers=1
    )
    assert "no classes (m.csv; --label-column NAME takes label or weight)" in report.lines()
    asked = Asked(labels=tmp_path / "m.csv", caption_column="text", label_column="label")
    assert prepare(source, tmp_path / "3", asked, workers=1).classes == ("x", "y", "z")
    assert _texts(tmp_path / "3") == _texts(tmp_path / "2") == _texts(tmp_path / "out")


def test_a_picture_without_a_text_is_left_out(tmp_path: Path) -> None:
    rows = [dict(row) for row in ROWS]
    rows[2]["text"] = None
    rows[4]["text"] = "x" * 70_000
    source = folder(tmp_path / "in", {**_pictures(), "metadata.jsonl": _jsonl(rows)})
    report = call(tmp_path, source, caption_column="text")
    assert sorted(report.skipped) == [
        (NAMES[2], "has no text"),
        (NAMES[4], "its text has 70000 bytes; at most 65536 and no zeros are allowed"),
    ]
    assert len(_texts(tmp_path / "out")) == 4


BAD: dict[str, tuple[Bytes, dict[str, Any], str]] = {  # files beside the pictures, options, what is said
    "no column of texts": ({"metadata.csv": _csv(ROWS)}, {"caption_column": "said"},
                           r"--caption-column said: .*no such column of texts \(metadata.csv has file_name,"),
    "no table": ({}, {"caption_column": "text"}, "no such column of texts; give a file: --labels FILE"),
    "no column of labels": ({"metadata.csv": _csv(ROWS)}, {"label_column": "breed"},
                            r"--label-column breed: .*no such column of labels \(metadata.csv has file"),
    "nothing to choose from": ({}, {"label_column": "breed"}, "has no such column of labels; give a file"),
    "a picture without a row": ({"metadata.csv": _csv(ROWS[1:])}, {},
                                "no class for 0/0.png .*; or allowed: --labels none, folders, or another"),
    "a row without a picture": ({"metadata.csv": _csv([*ROWS, {**ROWS[0], "file_name": "9.png"}])}, {},
                                "9.png: no such image in the source"),
    "no json": ({"metadata.jsonl": b"{"}, {}, "metadata.jsonl: line 1: not valid JSON"),
    "texts that are lists": ({"metadata.jsonl": _jsonl([{**row, "text": [1]} for row in ROWS])},
                             {"caption_column": "text"}, r"\[1\]: must be a text"),
    "no text at all": ({"metadata.jsonl": _jsonl([{**row, "text": None} for row in ROWS])},
                       {"caption_column": "text"}, "no picture has a text"),
    "two texts": ({"metadata.jsonl": _jsonl([*ROWS, {**ROWS[0], "text": "b\nc"}])},
                  {"caption_column": "text"}, "0/0.png has two texts, a cat and b c"),
    "a row of several lines": ({"metadata.csv": _csv([*ROWS, {**ROWS[0], "file_name": "x\ny"}])}, {},
                               "metadata.csv: x y: no such image"),
    "a title of several lines": ({"metadata.csv": b'file_name,"a\nb"\n0/0.png,1\n'},
                                 {"label_column": "breed"}, "metadata.csv has file_name, a b"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_said_in_a_line(tmp_path: Path, case: str) -> None:
    files, options, message = BAD[case]
    with pytest.raises(UserError, match=message) as caught:
        call(tmp_path, folder(tmp_path / "in", {**_pictures(), **files}), **options)
    assert "\n" not in str(caught.value)


NAMES_FILES: dict[str, tuple[str, str, tuple[str, ...]]] = {  # file, content, what classes are called
    "synsets": ("m.txt", "0 tench, Tinca tinca\n1 shark\n2 ray\n", ("tench, Tinca tinca", "shark", "ray")),
    "words": ("w.txt", "2\tthe third\n0\tthe first\n1\tthe second\n7\tno class\n",
              ("the first", "the second", "the third")),
    "by number": ("n.txt", "cat\nbig dog\nbird\n", ("cat", "big dog", "bird")),
    "csv": ("c.csv", 'id,name\n0,cat\n1,"big dog"\n2,bird\n', ("cat", "big dog", "bird")),
    "json": ("n.json", '{"0": ["n1", "cat"], "1": ["n2", "dog"], "2": "bird"}', ("cat", "dog", "bird")),
    "json list": ("n.json", '["cat", "dog", "bird"]', ("cat", "dog", "bird")),
    "one name twice": ("m.txt", "0 crane\n1 owl\n2 crane\n", ("crane (0)", "owl", "crane (2)")),
}  # fmt: skip


@pytest.mark.parametrize("case", NAMES_FILES)
def test_classes_are_called_as_a_file_says(tmp_path: Path, case: str) -> None:
    file, content, called = NAMES_FILES[case]
    (tmp_path / file).write_text(content)
    report = call(tmp_path, folder(tmp_path / "in", _pictures()), class_names=tmp_path / file)
    assert report.classes == ShardIndex.read(tmp_path / "out").classes == called
    assert labels_of(tmp_path / "out") == {name: called[int(name[0])] for name in NAMES}
    assert report.class_counts == dict.fromkeys(called, 2)


BAD_NAMES = {
    "missing": ("m.txt", "0 a\n1 b\n", r"m.txt: no name for class 2 \(1 of 3 has none\)"),
    "too few": ("n.txt", "cat\ndog\n", r"no name for class 2 \(1 of 3 has none\)"),
    "json of numbers": ("n.json", '{"0": 1}', "n.json: 0: 1: must be a name"),
    "no object": ("n.json", "3", "must be a JSON object of names by class"),
    "no json": ("n.json", "{", "not valid JSON"),
    "bytes": ("n.txt", "\udcff", "n.txt: "),
    "absent": ("", "", "no such file of names of classes"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_NAMES)
def test_names_of_classes_that_cannot_be_used(tmp_path: Path, case: str) -> None:
    file, content, message = BAD_NAMES[case]
    if file:
        (tmp_path / file).write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=message) as caught:
        call(tmp_path, folder(tmp_path / "in", _pictures()), class_names=tmp_path / (file or "absent.txt"))
    assert "\n" not in str(caught.value)


def test_processes_that_share_a_listing_share_its_tables(tmp_path: Path) -> None:
    files = {**_pictures(), "metadata.csv": _csv(ROWS), "dataset.json": b'{"labels": null}', "x.doc": b"x"}
    source = str(folder(tmp_path / "in", files))
    kind = source_kind(source)

    def listed() -> AbstractContextManager[Source]:
        return opened(kind, source, Wanted(), tmp_path / "out", False)

    with listed() as first, listed() as second:
        assert second.listing is not first.listing
        assert list(second.listing.names) == NAMES
        assert list(second.listing.tables) == [("metadata.csv", files["metadata.csv"])]
        assert second.listing.label_file == first.listing.label_file
        assert second.listing.others.named == first.listing.others.named == [("x.doc", "is no picture")]
