"""The table of what may be a source of pictures, generated from what the program knows."""

from __future__ import annotations

from pipeline.data.sources.known import KNOWN

MARK = "<!-- the table of sources -->"
"""Where a page has the table."""


def table() -> str:
    """Returns a row per kind of source: what is given as SOURCE, and remarks."""
    rows = [f"| {words if ' ' in words else f'`{words}`'} | {remarks} |" for words, remarks in KNOWN.items()]
    return "\n".join(["| source | remarks |", "|---|---|", *rows])
