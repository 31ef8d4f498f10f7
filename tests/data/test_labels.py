"""Label files as people have them, and whose row is whose."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from pipeline.errors import UserError
from tests.data.feeds import call, folder, labels_of, plain

NAMES = ["cats/a.png", "cats/b.png", "dogs/c.png"]
TRUTH = {"cats/a.png": "10", "cats/b.png": "9", "dogs/c.png": "10"}
ROWS = [(name, TRUTH[name]) for name in NAMES]
PAIRS = [list(row) for row in ROWS]


def _lines(separator: str = ",", rows: list[tuple[str, str]] = ROWS, *head: str) -> str:
    return "\n".join([*head, *(separator.join(row) for row in rows)]) + "\n"


def _renamed(change: Any) -> list[tuple[str, str]]:
    return [(change(name), value) for name, value in ROWS]


# (file, content)
GOOD: dict[str, tuple[str, str | bytes]] = {
    "object": ("l.json", json.dumps({name: int(value) for name, value in ROWS})),
    "pairs": ("l.json", json.dumps({"labels": [[name, int(value)] for name, value in ROWS]})),
    "bare pairs": ("l.json", json.dumps(PAIRS)),
    "objects": ("l.json", json.dumps([{"file_name": name, "label": int(v)} for name, v in ROWS])),
    "lines of objects": ("l.jsonl", "\n".join(json.dumps({"n": n, "c": v}) for n, v in ROWS)),
    "vectors": ("l.json", json.dumps({n: [float(v == str(k)) for k in range(11)] for n, v in ROWS})),
    "csv": ("l.csv", "name,class\ncats/a.png,10\ncats/b.png,9\n\ndogs/c.png,10\n"),
    "no header": ("l.csv", _lines()),
    "any header": ("l.csv", _lines(",", ROWS, "id,breed")),
    "semicolons": ("l.csv", _lines(";", ROWS, "Datei;Klasse")),
    "spreadsheet": ("l.csv", _lines(";", ROWS, "sep=;", "Datei;Klasse")),
    "tabs": ("l.tsv", _lines("\t")),
    "tabs in a csv": ("l.csv", _lines("\t")),
    "blanks": ("l.txt", _lines("  ")),
    "quotes": ("l.csv", _lines(",", [(f'"{name}"', f'"{value}"') for name, value in ROWS])),
    "windows": ("l.csv", _lines().replace("\n", "\r\n").replace("/", "\\")),
    "mark": ("l.csv", _lines().encode("utf-8-sig")),
    "utf-16": ("l.csv", _lines().encode("utf-16")),
    "utf-16, big": ("l.csv", "\ufeff".encode("utf-16-be") + _lines().encode("utf-16-be")),
    "without suffix": ("l.csv", _lines(",", _renamed(lambda name: name[:-4]), "id,breed")),
    "without folder": ("l.csv", _lines(",", _renamed(lambda name: name[5:]))),
    "with more folders": ("l.csv", _lines(",", _renamed(lambda name: f"/data/x/{name}"))),
    "class first": ("l.csv", "\n".join(f"{value},{name}" for name, value in ROWS)),
    "row numbers": ("l.csv", ",file,c\n" + "\n".join(f"{k},{n},{v}" for k, (n, v) in enumerate(ROWS))),
    "whole numbers with a point": ("l.csv", _lines(",", [(name, f"{value}.0") for name, value in ROWS])),
    "said twice": ("l.csv", _lines(",", [*ROWS, ROWS[0]])),
}  # fmt: skip


@pytest.mark.parametrize("case", list(GOOD))
def test_label_files(tmp_path: Path, case: str) -> None:
    name, content = GOOD[case]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    source = folder(tmp_path / "in", {name: plain(n) for n, name in enumerate(NAMES)})
    report = call(tmp_path, source, labels=tmp_path / name)
    assert report.classes == ("9", "10")  # by number, not by letter
    assert labels_of(tmp_path / "out") == TRUTH
    assert f"classes ({name}): 9 1, 10 2" in report.lines()


BAD: dict[str, tuple[str, str | bytes, str]] = {  # file, content, message
    "typo": ("l.csv", _lines(",", [*ROWS[:2], ("dogs/x.pgn", "9")]),
             "dogs/x.pgn: no such image in the source; .*--on-absent skip"),
    "nearest": ("l.csv", _lines(",", [*ROWS, ("cats/b.pgn", "9")]), "the nearest is cats/b.png"),
    "typo in the first row": ("l.csv", "a.pgn,10\ncats/b.png,9\ndogs/c.png,10\n", "no class for cats/a.png"),
    "missing": ("l.csv", "cats/a.png,10\n", r"no class for cats/b.png \(2 of 3 have none\)"),
    "another folder": ("l.csv", _lines(",", _renamed(lambda n: "mice/" + n[5:])), "mice/a.png: no such"),
    "twice": ("l.csv", "cats/a.png,1\ncats/a.png,2\n", "cats/a.png has two classes, 1 and 2"),
    "twice, by two names": ("l.csv", "cats/a.png,1\na,2\n", "a has two classes, 1 and 2"),
    "columns": ("l.csv", "cats/a.png\n", "entry 1.*must be a name and a class"),
    "uneven": ("l.csv", "cats/a.png,1\ncats/b.png,1,2\ncats/c.png,2\n", "entry 2.*must be a name and"),
    "no json": ("l.json", "{", "not valid JSON"),
    "list": ("l.json", "[1]", "entry 1: 1; must be a name and a class"),
    "number": ("l.json", "1", "must be a JSON object"),
    "null": ("l.json", '{"cats/a.png": null}', "cats/a.png: null: its class must be a name or a number"),
    "truth": ("l.json", '{"cats/a.png": true}', "true: its class must be a name or a number"),
    "nothing": ("l.csv", "cats/a.png,\n", "its class must be a name or a number"),
    "measure": ("l.csv", _lines(",", [(name, f"0.{value}") for name, value in ROWS]), "0.10 is a measure"),
    "attributes": ("l.json", '{"labels": [["cats/a.png", [0, 1, 1]]]}', r"no vector for cats/b.png \(2 of 3"),
    "ragged": ("l.json", json.dumps(dict(zip(NAMES, ([0, 2], [1, 2], [3]), strict=True))),
               r"entry 3: dogs/c.png: \[3\] has 1 numbers where most have 2"),
    "mixed": ("l.json", json.dumps(dict(zip(NAMES, ([0, 2], 1, [1, 1]), strict=True))),
              r"cats/b.png: 1 stands where others have vectors of 2 numbers"),
    "words in a vector": ("l.json", json.dumps({n: [1, "x"] for n in NAMES}), "is no vector of numbers"),
    "truth in a vector": ("l.json", json.dumps({n: [2, True] for n in NAMES}), "is no vector of numbers"),
    "not a number": ("l.json", json.dumps({n: [2, float("nan")] for n in NAMES}), "that float32 has not"),
    "beyond float32": ("l.json", json.dumps({n: [1e300, 0.5] for n in NAMES}), "that float32 has not"),
    "empty vectors": ("l.json", json.dumps({n: [] for n in NAMES}), "has 0 numbers"),
    "two vectors": ("l.json", json.dumps([["cats/a.png", [1, 2]], ["cats/a.png", [2, 2]]]), "a.png has two"),
    "classes alone": ("l.txt", "1\n2\n3\n", "a class in each row but no names; .* 3 rows, 3 pictures"),
    "no header in json": ("l.json", '{"typo": 1, "cats/a.png": 1}', "l.json: typo: no such image"),
    "names alone": ("l.json", '[{"file": "cats/a.png"}]', "has no column of classes beside file"),
    "empty": ("l.csv", "", r"no class for cats/a.png \(3 of 3 have none\)"),
    "yaml": ("l.yaml", "", "a file ending in .json, .jsonl, .csv, .tsv or .txt"),
    "latin": ("l.csv", "cats/é.png,1\n".encode("latin-1"), "is not utf-8; save it as UTF-8"),
}  # fmt: skip


@pytest.mark.parametrize("case", list(BAD))
def test_what_a_label_file_may_not_say(tmp_path: Path, case: str) -> None:
    name, content, message = BAD[case]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    source = folder(tmp_path / "in", {name: plain(n) for n, name in enumerate(NAMES)})
    with pytest.raises(UserError, match=message) as caught:
        call(tmp_path, source, labels=tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unicode_names_in_any_normal_form(tmp_path: Path) -> None:
    names = ["é.png", "日本語.png", "가나.png"]
    source = folder(tmp_path / "in", {unicodedata.normalize("NFD", n): plain(k) for k, n in enumerate(names)})
    labels = {unicodedata.normalize("NFC", n): f"c{k}" for k, n in enumerate(names)}
    (tmp_path / "l.json").write_text(json.dumps(labels))
    call(tmp_path, source, labels=tmp_path / "l.json")
    found = {unicodedata.normalize("NFC", n): c for n, c in labels_of(tmp_path / "out").items()}
    assert found == labels


def test_a_name_that_may_be_two_pictures_is_refused(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", {"x/1.png": plain(1), "y/1.png": plain(2)})
    (tmp_path / "l.csv").write_text("1.png,a\n1.png,b\n")
    with pytest.raises(UserError, match=r"entry 1: 1.png may be x/1.png or y/1.png; write it with"):
        call(tmp_path, source, labels=tmp_path / "l.csv")


def test_rows_of_absent_pictures_are_left_out_if_asked(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", {name: plain(n) for n, name in enumerate(NAMES)})
    (tmp_path / "l.csv").write_text(_lines(",", [("gone.png", "3"), *ROWS, ("mice/d.png", "4")]))
    report = call(tmp_path, source, labels=tmp_path / "l.csv", on_absent="skip")
    assert labels_of(tmp_path / "out") == TRUTH
    assert report.classes == ("9", "10")
    assert "2 labels without a picture left out" in report.lines()


CELEBA = "3\nMale Young\ncats/a.png  1 -1\ncats/b.png -1 -1\ndogs/c.png -1  1\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("l.csv", "image_id,Male,Young\ncats/a.png,1,-1\ncats/b.png,-1,-1\ndogs/c.png,-1,1\n"),
        ("l.txt", CELEBA),
        ("l.json", '{"cats/a.png": {"Male": 1, "Young": -1}, "cats/b.png": {"Male": -1, "Young": -1}, '
                   '"dogs/c.png": {"Male": -1, "Young": 1}}'),
    ],
)  # fmt: skip
def test_of_several_columns_one_is_chosen(tmp_path: Path, name: str, content: str) -> None:
    source = folder(tmp_path / "in", {name: plain(n) for n, name in enumerate(NAMES)})
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=r"several columns beside the names \(Male, Young\).*--label-column"):
        call(tmp_path, source, labels=tmp_path / name)
    with pytest.raises(UserError, match=r"has no column 'Old' of classes; allowed: Male, Young"):
        call(tmp_path, source, labels=tmp_path / name, label_column="Old")
    call(tmp_path, source, labels=tmp_path / name, label_column="Young")
    assert labels_of(tmp_path / "out") == {"cats/a.png": "-1", "cats/b.png": "-1", "dogs/c.png": "1"}
    prepare(
        source, tmp_path / "2", Asked(resolution=16, labels=tmp_path / name, label_column="Male"), workers=1
    )
    assert labels_of(tmp_path / "2") == {"cats/a.png": "1", "cats/b.png": "-1", "dogs/c.png": "-1"}


def test_a_file_may_say_that_there_are_no_labels(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", {name: plain(n) for n, name in enumerate(NAMES)})
    (tmp_path / "l.json").write_text('{"labels": null}')
    report = call(tmp_path, source, labels=tmp_path / "l.json")
    assert report.classes == ()
    assert "no classes (l.json)" in report.lines()
