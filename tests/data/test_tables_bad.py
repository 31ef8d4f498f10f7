"""What is wrong with tables as sources, and in which words that is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import UserError
from tests.data.feeds import call, plain
from tests.data.forms import pictures
from tests.data.tables import FEATURES, dataset, hub, plain_parquet, saved


def _no_image(root: Path) -> dict[str, Any]:
    pq.write_table(pa.table({"a": [1], "b": [[1.0]]}), root / "x.parquet")
    return {}


def _two_images(root: Path) -> dict[str, Any]:
    pq.write_table(pa.table({"real": [plain(1)], "mask": [plain(2)]}), root / "x.parquet")
    return {}


def _cut(root: Path) -> dict[str, Any]:
    plain_parquet(root, pictures())
    (root / "x.parquet").write_bytes((root / "x.parquet").read_bytes()[:-9])
    return {}


def _empty(root: Path) -> dict[str, Any]:
    (root / "x.parquet").write_bytes(b"")
    return {}


def _no_rows(root: Path) -> dict[str, Any]:
    pq.write_table(pa.table({"image": pa.array([], pa.binary())}), root / "x.parquet")
    return {}


def _other_schema(root: Path) -> dict[str, Any]:
    pq.write_table(pa.table({"image": [plain(1)]}), root / "x.parquet")
    pq.write_table(pa.table({"picture": [plain(1)]}), root / "y.parquet")
    return {}


def _several_sets(root: Path) -> dict[str, Any]:
    for name in ("128", "256"):
        (root / name).mkdir()
        dataset(pictures(3)).to_parquet(root / name / "train-00000-of-00001.parquet")
    return {}


def _splits(root: Path) -> dict[str, Any]:
    hub(root, pictures(4))
    return {}


def _no_class(root: Path) -> dict[str, Any]:
    table = dataset(pictures(3)).to_list()
    table[1]["label"] = -1
    datasets.Dataset.from_list(table, features=FEATURES).to_parquet(root / "x.parquet")
    return {}


def _two_labels(root: Path) -> dict[str, Any]:
    names = datasets.ClassLabel(names=["x", "y"])
    features = datasets.Features(image=datasets.Image(), coarse=names, fine=names)
    row = {"image": {"bytes": plain(1), "path": None}, "coarse": 0, "fine": 1}
    datasets.Dataset.from_list([row], features=features).to_parquet(root / "x.parquet")
    return {}


def _asked(**options: str) -> Callable[[Path], dict[str, Any]]:
    def make(root: Path) -> dict[str, Any]:
        table = pa.table({"image": [plain(1)] * 2, "age": [0.5, 1.5], "name": ["a", None]})
        pq.write_table(table, root / "x.parquet")
        return options

    return make


def _cut_arrow(root: Path) -> dict[str, Any]:
    saved(root, pictures(3))
    (root / "set/data-00000-of-00003.arrow").write_bytes(b"\xff\xff\xff\xff")
    return {}


def _lost_arrow(root: Path) -> dict[str, Any]:
    saved(root, pictures(3))
    (root / "set/data-00001-of-00003.arrow").unlink()
    return {}


def _escaping_state(root: Path) -> dict[str, Any]:
    saved(root, pictures(3))
    state = {"_data_files": [{"filename": "../set/data-00000-of-00003.arrow"}]}
    (root / "set/state.json").write_text(json.dumps(state))
    return {}


def _dictionaries(root: Path) -> dict[str, Any]:
    table = pa.table({"image": [plain(1)], "class": pa.array(["a"]).dictionary_encode()})
    with pa.ipc.new_stream(root / "x.arrow", table.schema) as writer:
        writer.write_table(table)
    return {}


# what is there -> the line that says what is wrong with it
BAD: dict[str, tuple[Callable[[Path], dict[str, Any]], str]] = {
    "no column of pictures": (
        _no_image,
        r"has no column of pictures \(columns: a int64, b list<.*>\)",
    ),
    "several columns": (
        _two_images,
        r"columns of pictures \(real, mask\); choose one: --image-column",
    ),
    "cut off": (_cut, r"x.parquet: is no whole Parquet file \(Parquet magic bytes not found in footer"),
    "empty": (_empty, r"x.parquet: is no whole Parquet file \(Parquet file size is 0 bytes\)"),
    "no rows": (_no_rows, r"in: holds no images$"),
    "other columns": (_other_schema, r"y.parquet: its column image is not there, .* than in x.parquet"),
    "several sets": (_several_sets, r"several folders \(128, 256\), which may be .*: .*/in/128$"),
    "two splits": (_splits, r"set: has the splits test, train; give one of them: .*set:test, .*set:train$"),
    "a row without a class": (
        _no_class,
        r"row 1: label: class -1, which stands for no class; or",
    ),
    "two columns of classes": (
        _two_labels,
        r"of classes \(coarse, fine\); choose one: --label-column",
    ),
    "no such image column": (
        _asked(image_column="img"),
        r"img: is not there; allowed: image \(",
    ),
    "a text as image": (_asked(image_column="name"), r"name: holds no encoded pictures; allowed: image \("),
    "no such label column": (_asked(label_column="sex"), r"--label-column sex: is not there; allowed: name$"),
    "a measure as label": (
        _asked(label_column="age"),
        r"age: is of double, which no class is; allowed: ",
    ),
    "a label is lacking": (_asked(label_column="name"), r"x.parquet: row 1: name: has no class$"),
    "not Arrow": (_cut_arrow, r"data-00000-of-00003.arrow: is no whole Arrow file \(Corrupted metadata"),
    "a file is lost": (_lost_arrow, r"state.json: _data_files: 'data-00001-of-00003.arrow': no such name in"),
    "a path that leads out": (_escaping_state, r"state.json: _data_files: '../set/data.*': no such name in"),
    "dictionaries": (_dictionaries, r"x.arrow: has columns encoded by dictionaries, .*; write it as Parquet"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_with_a_table_is_said_in_a_line(tmp_path: Path, name: str) -> None:
    make, line = BAD[name]
    (tmp_path / "in").mkdir()
    options = make(tmp_path / "in")
    sets = tmp_path / "in/set"
    with pytest.raises(UserError, match=line) as caught:
        call(tmp_path, sets if sets.exists() else tmp_path / "in", **options)
    assert "\n" not in str(caught.value)


def test_a_split_that_is_not_there_is_named(tmp_path: Path) -> None:
    hub(tmp_path, pictures(4))
    with pytest.raises(UserError, match=r"set: has no split 'val'; allowed: .*set:test, .*set:train$"):
        call(tmp_path, f"{tmp_path / 'set'}:val")
