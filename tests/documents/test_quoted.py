"""Errors that the pages quote are lines of the program: their words stand in its own texts."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

import pytest

from tests.documents.reading import ROOT, WRITTEN, blocks, name_of


@cache
def said() -> frozenset[str]:
    """Every piece of text of the program, without what is put into it."""
    pieces = set()
    for folder in ("launch", "ops", "pipeline"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    pieces |= {piece.strip() for piece in re.split(r"[.,;:]? +", node.value)}
                    pieces |= set(re.findall(r"[a-z][a-z' -]{11,}", node.value))
    return frozenset(pieces)


def quoted() -> Iterator[tuple[str, str]]:
    for path in WRITTEN:
        for block in blocks(path.read_text(encoding="utf-8"), "output"):
            yield from (
                (name_of(path), line) for line in block.splitlines() if line.startswith("hrgan: error:")
            )


def strange(line: str) -> list[str]:
    """Runs of twelve or more letters and spaces that no text of the program has, or has most of."""
    text = re.sub(r"\(.*?\)|\[.*?\]|\.\.\.", "\n", line.removeprefix("hrgan: error:"))
    runs = (run.strip() for run in re.findall(r"(?<![\w/.-])[a-z][a-z' ]{11,}(?![\w/=])", text))
    return [run for run in runs if not any(run in piece or _most_of(run, piece) for piece in said())]


def _most_of(run: str, piece: str) -> bool:
    return piece in run and 3 * len(piece) > 2 * len(run)


@pytest.mark.parametrize(("page", "line"), sorted(quoted()))
def test_an_error_on_a_page_is_one_of_the_program(page: str, line: str) -> None:
    assert strange(line) == []


def test_there_are_such_lines_and_others_are_strange() -> None:
    assert len(list(quoted())) >= 8
    assert strange("hrgan: error: runs/faces: somebody else has this folder open; wait") != []
