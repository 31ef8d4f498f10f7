"""Tables and lines for people: columns that a program can read, and a terminal that is gone."""

from __future__ import annotations

import sys
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import words
from pipeline.words import counted, keep_quiet, note, table, tell

CELLS = st.text(st.characters(codec="ascii", categories=("L", "N", "P")), min_size=1, max_size=12)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4).flatmap(lambda n: st.lists(st.lists(CELLS, min_size=n, max_size=n), min_size=1)))
def test_rows_are_lines_and_columns_begin_at_one_place(rows: list[list[str]]) -> None:
    lines = table(rows).splitlines()
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    assert [line.split() for line in lines] == rows
    for line, row in zip(lines, rows, strict=True):
        place = 0
        for cell, width in zip(row, widths, strict=True):
            assert line[place : place + len(cell)] == cell
            place += width + 2


def test_numbers_end_at_one_place_under_their_heads() -> None:
    assert table([["1", "a"], ["1,000", "bcd"]], ["images", "x"], align="right").splitlines() == [
        "images    x",
        "     1    a",
        " 1,000  bcd",
    ]


def test_nothing_in_a_cell_is_markup_or_breaks_the_line() -> None:
    text = table([["[bold]x[/bold] :smile:", "a\nb\x1b[31m"]], indent=2)
    assert text == "  [bold]x[/bold] :smile:  a\\nb\\x1b[31m"


def test_wide_letters_take_two_columns() -> None:
    first, second = table([["中文", "x"], ["abcd", "y"]]).splitlines()
    assert (first, second) == ("中文  x", "abcd  y")


def test_a_row_is_one_line_however_long_unless_at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [["run", "x" * 500, "end"]]
    assert table(rows) == f"run  {'x' * 500}  end"
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    lines = table(rows, indent=2).splitlines()
    assert max(map(len, lines)) <= 40
    assert sum(line.count("x") for line in lines) == 500


def test_a_table_without_rows_is_its_heads() -> None:
    assert table([], ["a", "b"]) == "a  b"
    assert table([]) == ""


class Gone:
    """A terminal that was closed."""

    def write(self, text: str) -> int:
        raise OSError("Input/output error")

    def flush(self) -> None:
        raise OSError("Input/output error")


def test_lines_go_to_standard_error_and_a_terminal_that_is_gone_stops_nobody(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tell("one")
    note("two\x07")
    keep_quiet("three")
    assert capsys.readouterr() == ("", "one\nhrgan: two\\x07\n")
    monkeypatch.setattr(sys, "stderr", Gone())
    tell("one")


def test_counts_in_words() -> None:
    assert [counted(n, "process", "processes") for n in (0, 1, 2)] == [
        "0 processes",
        "1 process",
        "2 processes",
    ]
    assert counted(2, "image") == "2 images"


def test_what_takes_long_says_so_at_growing_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "SILENCE_SECONDS", 0.05)
    said: list[tuple[float, str]] = []
    begun = time.monotonic()
    with words.patiently("counting", lambda line: said.append((time.monotonic() - begun, line))):
        while len(said) < 4 and time.monotonic() - begun < 20:
            time.sleep(0.01)
    # 1, 2, 4 and 8 times as long; a busy machine may be late, and is never early.
    assert [line for _, line in said] == ["counting: 0 s so far"] * 4
    assert all(at >= 0.05 * 2**n for n, (at, _) in enumerate(said))
    assert "hrgan-patience" not in {thread.name for thread in threading.enumerate()}


def test_what_is_quick_says_nothing_and_errors_pass() -> None:
    said: list[str] = []
    with pytest.raises(KeyError), words.patiently("x", said.append):
        raise KeyError
    assert said == []
