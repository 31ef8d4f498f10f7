"""The documents as their tests read them: blocks of code, words in backticks, links, headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs/pages"
WRITTEN = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(PAGES.rglob("*.md")))
"""What is written for users and newcomers; the rooms' own texts and the changelog are of their rooms."""

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(text: str, language: str = "bash") -> Iterator[str]:
    """The contents of the fenced blocks of one language."""
    yield from (found[2] for found in _FENCE.finditer(text) if found[1] == language)


def prose(text: str) -> str:
    return _FENCE.sub("", text)


def inline(text: str) -> list[str]:
    """Every `word in backticks` outside blocks, line breaks within it as spaces."""
    return [" ".join(found.split()) for found in re.findall(r"`([^`]+)`", prose(text))]


def lines(text: str) -> list[str]:
    """The command lines of all blocks, without comments."""
    found = (line.strip() for block in blocks(text) for line in block.splitlines())
    return [line.split("  #")[0].strip() for line in found if line and not line.startswith("#")]


def links(text: str) -> list[tuple[bool, str, str, str]]:
    """Of every link: whether it is a picture, its text, its target and its anchor."""
    found = re.findall(
        r"(!?)\[([^\]]*)\]\(([^)\s#]*)(?:#([^)\s]*))?\)", re.sub(r"`[^`\n]*`", "", prose(text))
    )
    return [(bool(mark), words, target, anchor) for mark, words, target, anchor in found]


def anchors(text: str) -> set[str]:
    """What a link may name after #: headings as Python-Markdown numbers them, and given ids."""
    known: set[str] = set()
    for heading in re.findall(r"^#{1,6} +(.*)$", prose(text), re.MULTILINE):
        given = re.search(r"\{ *#([\w.-]+) *\}", heading)
        plain = re.sub(r"[`*_]|\{.*\}|\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())
        known.add(given[1] if given else slug)
    return known
