"""prepare: what it says of a data set in its folder, and the pictures that it holds out."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from launch.main import main
from launch.options.prepare import PrepareOptions
from pipeline.data.preparing.copies import find_copies
from pipeline.data.preparing.ending import About
from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.verify import verify
from pipeline.errors import UserError
from tests.data.feeds import file, folder, noise, plain, stored


def _crowd(root: Path, more: int = 0) -> Path:
    files = {f"c{n % 2}/{n:03d}.png": file(noise(20 + n % 7, 24, n)) for n in range(80 + more)}
    # The same pixels: once more, in another format, and in the other class.
    files["c1/copy.png"] = files["c0/000.png"]
    files["c0/copy.bmp"] = file(noise(20 + 3, 24, 3), "BMP")
    return folder(root / "in", {**files, "c0/<b>x</b>.png": b"x", "c1/empty.png": b""})


def _held(out: Path) -> set[str]:
    return set(stored(out / "held-out"))


ASKED = Asked(resolution=16, shard_size=20, hold_out=0.2)


def test_pictures_are_held_out_by_their_content_alone(tmp_path: Path) -> None:
    source = _crowd(tmp_path / "few")
    report = prepare(source, tmp_path / "out", ASKED, workers=1)
    kept, held = set(stored(tmp_path / "out")), _held(tmp_path / "out")
    assert not kept & held
    assert (len(kept), len(held)) == (report.count, report.held_out)
    assert len(kept | held) == 82
    assert 6 <= len(held) <= 30  # 16 of 82 are expected
    for one, other in (("c0/000.png", "c1/copy.png"), ("c1/003.png", "c0/copy.bmp")):
        assert (one in held) == (other in held)
    # Others that come, another order, size and number of processes change nothing for those that were there.
    more = prepare(_crowd(tmp_path / "more", 30), tmp_path / "2", Asked(resolution=8, hold_out=0.2, seed=9))
    assert {name for name in _held(tmp_path / "2") if name in kept | held} == held
    assert more.held_out > len(held)
    # A larger share holds out the same and others.
    prepare(source, tmp_path / "3", Asked(resolution=16, hold_out=0.5), workers=1)
    assert _held(tmp_path / "3") > held


def test_both_parts_are_data_sets_that_say_what_they_are(tmp_path: Path) -> None:
    asked = Asked(resolution=16, shard_size=20, hold_out=0.2, pyramid=True)
    report = prepare(_crowd(tmp_path), tmp_path / "out", asked, workers=1)
    whole, held = ShardIndex.read(tmp_path / "out"), ShardIndex.read(tmp_path / "out/held-out")
    for index in (whole, held):
        verify(index)
        assert [level.height for level in index.levels] == [8, 4]
        assert index.origin["hold_out"] == 0.2
    assert held.origin["part"] == "held-out"
    assert whole.classes == held.classes == ("c0", "c1")
    assert any("held out" in line for line in report.lines())
    assert report.class_counts == json.loads((tmp_path / "out/card.json").read_text())["classes"]
    with pytest.raises(UserError, match=r"hold_out: 0.2 there, None asked"):
        prepare(tmp_path / "in", tmp_path / "out", Asked(resolution=16, shard_size=20), workers=1)


def test_if_all_are_held_out_it_is_said(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", {"a.png": plain(1)})
    with pytest.raises(UserError, match="every picture would be held out"):
        prepare(source, tmp_path / "out", Asked(hold_out=1 - 2**-52), workers=1)
    assert prepare(source, tmp_path / "out", Asked(hold_out=2**-52), workers=1).count == 1


@pytest.mark.parametrize("share", ["2", "0", "100%", "-1%", "half", "nan", ""])
def test_shares_that_are_none(share: str) -> None:
    options = PrepareOptions(source="x", out=Path("y"), hold_out=share)
    with pytest.raises(UserError, match=r"must be a share of all, such as 2% or 0\.02"):
        options.asked  # noqa: B018


@pytest.mark.parametrize(("share", "number"), [("2%", 0.02), ("0.02", 0.02), (" 12.5 % ", 0.125), (None, 0)])
def test_shares(share: str | None, number: float) -> None:
    assert PrepareOptions(source="x", out=Path("y"), hold_out=share).asked.hold_out == pytest.approx(number)


@given(st.lists(st.integers(0, 6), max_size=30))
@settings(max_examples=60, deadline=None)
def test_copies_are_those_that_a_dictionary_finds(contents: list[int]) -> None:
    places: dict[int, list[int]] = {}
    for place, content in enumerate(contents):
        places.setdefault(content, []).append(place)
    groups = [some for content, some in places.items() if content and len(some) > 1]
    found = find_copies(np.array(contents, np.uint64), examples=2, shown=3)
    assert found.groups == len(groups)
    assert found.pictures == sum(len(some) - 1 for some in groups)
    assert found.examples == [some[:3] for some in sorted(groups)[:2]]


def test_the_card_says_what_was_counted(tmp_path: Path) -> None:
    source, out = _crowd(tmp_path), tmp_path / "out"
    (source / "c0/grey.png").write_bytes(file(Image.new("L", (64, 40))))
    prepare(source, out, Asked(resolution=24, shard_size=9), workers=1, about=About("hrgan prepare 'in'"))
    card = json.loads((out / "card.json").read_text())
    index = ShardIndex.read(out)
    assert (card["count"], card["index_digest"], card["made"]) == (83, index.digest, index.origin)
    assert card["classes"] == {"c0": 42, "c1": 41}
    assert card["suffixes"] == {".bmp": 1, ".png": 82}
    assert card["modes"] == {"L": 1, "RGB": 82}
    assert card["shorter_sides"] == {"16": 82, "32": 1}
    wide = sum(20 + n % 7 > 24 for n in range(80))
    square = sum(20 + n % 7 == 24 for n in range(80))
    assert card["shapes"] == {"square": square, "tall": 82 - wide - square, "wide": wide + 1}
    assert card["enlarged"] == 82 - wide - square
    assert card["copies"] == {"groups": 2, "pictures": 2}
    assert card["left_out"]["reasons"] == {"is empty": 1, "not an image of a known kind": 1}
    with (out / "left-out.csv").open(newline="") as rows:
        assert sorted(csv.reader(rows)) == [
            ["c0/<b>x</b>.png", "not an image of a known kind"],
            ["c1/empty.png", "is empty"],
            ["name", "reason"],
        ]
    text = (out / "README.md").read_text()
    for words in ("# 83 pictures of in", "filter lanczos", "Licence: not stated", "    hrgan prepare 'in'"):
        assert words in text


class _Page(HTMLParser):
    """Tags and what they refer to."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.files: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.files += [str(value) for name, value in attrs if name in ("src", "href")]


def test_the_report_is_whole_and_needs_nothing_from_elsewhere(tmp_path: Path, capsys) -> None:
    source, out = _crowd(tmp_path), tmp_path / "out"
    assert main(["prepare", str(source), str(out), "--resolution", "16", "--workers", "1"]) == 0
    html = (out / "report/index.html").read_text()
    page = _Page()
    page.feed(html)
    assert set(page.files) == {"pairs.png", "samples-0.png", "samples-1.png"}
    assert not {"script", "b", "link", "iframe"} & set(page.tags)  # nor what a file's name would bring in
    assert "c0/&lt;b&gt;x&lt;/b&gt;.png" in html
    assert "http" not in re.sub(r"http-equiv", "", html)
    assert {path.name for path in (out / "report").iterdir()} == {*page.files, "index.html"}
    for name in page.files:
        with Image.open(out / "report" / name) as picture:
            picture.load()
            assert picture.width == 12 * 96 if name.startswith("samples") else picture.height == 2 * 96
    assert "000.png" in html or "003.png" in html  # one of the copies


def test_without_a_report_there_is_none(tmp_path: Path, capsys) -> None:
    source, out = folder(tmp_path / "in", {"a.png": plain(1)}), tmp_path / "out"
    assert main(["prepare", str(source), str(out), "--no-report"]) == 0
    assert not (out / "report").exists()
    assert "--no-report" in (out / "README.md").read_text()


def test_samples_are_of_their_class(tmp_path: Path) -> None:
    colours = {"red": (255, 0, 0), "blue": (0, 0, 255)}
    files = {
        f"{name}/{n}.png": file(Image.new("RGB", (96, 96), colour))
        for name, colour in colours.items()
        for n in range(14)
    }
    source = folder(tmp_path / "in", files)
    out = tmp_path / "out"
    prepare(source, out, Asked(shard_size=5), workers=1, about=About(page=True))
    for number, name in enumerate(("blue", "red")):
        with Image.open(out / f"report/samples-{number}.png") as sheet:
            assert sheet.size == (12 * 96, 96)
            assert sheet.convert("RGB").getcolors() == [(12 * 96 * 96, colours[name])]


def test_a_data_set_inside_its_source_is_no_part_of_it(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", {f"{n}.png": plain(n) for n in range(5)})
    out = source / "shards"
    first = prepare(source, out, Asked(), workers=1, about=About(page=True))
    again = prepare(source, out, Asked(), workers=1)
    assert (first.count, again.count, again.resumed) == (5, 5, 5)
    assert (out / "report/pairs.png").is_file()
    other = prepare(source, tmp_path / "other", Asked(), workers=1)
    assert (other.count, [name for name, _ in other.skipped]) == (5, ["shards"])
