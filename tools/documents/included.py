"""Pages that live elsewhere in the repository, and the links of a page that lies in another folder there."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = "docs/pages"

INCLUDED: Mapping[str, str] = {
    "index.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "rooms.md": "pipeline/README.md",
    "engines.md": "pipeline/engines/README.md",
    "adding-a-family.md": "pipeline/models/README.md",
    "ops.md": "ops/README.md",
    "ledger.md": "tests/gpu/LEDGER.md",
}
"""Page of the site -> the file whose text it is."""

_LINK = re.compile(r"(!?)\[([^\]\n]*)\]\(([^)\s#]*)(#[^)\s]*)?\)")
_CODE = re.compile(r"(```.*?```|`[^`\n]*`)", re.DOTALL)


def read(page: str) -> str:
    """The text of an included page, with its links as they are from the page's place on the site."""
    source = INCLUDED[page]
    return relinked((ROOT / source).read_text(encoding="utf-8"), source, page)


def relinked(text: str, source: str, page: str) -> str:
    """Links of `source`, relative to its folder in the repository, for `page` of the site.

    A link to a file that is on no page becomes its text: the site holds no copy of the repository.
    """
    parts = _CODE.split(text)
    for index in range(0, len(parts), 2):
        parts[index] = _LINK.sub(lambda link: _link(link, source, page), parts[index])
    return "".join(parts)


def _link(link: re.Match[str], source: str, page: str) -> str:
    picture, text, target, anchor = link[1], link[2], link[3], link[4] or ""
    if not target or re.match(r"[a-z]+:", target):
        return link[0]
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    place = page_of(path)
    if place is None:
        return text
    there = posixpath.relpath(place, posixpath.dirname(page) or ".")
    return f"{picture}[{text}]({there}{anchor})"


def page_of(path: str) -> str | None:
    """The page or picture of the site that a file of the repository is; None if it is not on it."""
    for page, source in INCLUDED.items():
        if path == source:
            return page
    return path.removeprefix(f"{PAGES}/") if path.startswith(f"{PAGES}/") else None
