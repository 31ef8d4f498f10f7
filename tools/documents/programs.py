"""The reference of the tools, generated from their docstrings."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = {
    "": "Comparisons and helpers",
    "bench": "Benchmarks",
    "research": "Papers, other projects, scale",
    "torture": "Kills and faults",
}
"""Folders of `tools` whose modules run, and what they are called; a package that runs is listed by itself."""


def programs() -> Iterator[tuple[str, str, str]]:
    """Returns room, module name and docstring of every tool that `python -m` runs."""
    folders = [ROOT / "tools" / room for room in ROOMS]
    files = [path for folder in folders for path in (*folder.glob("*.py"), *folder.glob("*/__main__.py"))]
    for path in sorted(set(files)):
        text = path.read_text(encoding="utf-8")
        if 'if __name__ == "__main__":' not in text:
            continue
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__main__")
        room = parts[1] if len(parts) > 2 and parts[1] in ROOMS else ""
        yield room, name, ast.get_docstring(ast.parse(text)) or ""


def page() -> str:
    """Returns the reference in Markdown: a section for each tool with its own description."""
    lines = [
        "# Tools",
        "",
        "This page is generated from the tools' own descriptions. They are part of a checkout, not of an "
        "installed package, and run from its root as `python -m tools.NAME`; `--help` lists the options. "
        "`make bench` runs the benchmarks one after the other.",
    ]
    known = list(programs())
    for room, title in ROOMS.items():
        lines += ["", f"## {title}"]
        for name, text in [(name, text) for where, name, text in known if where == room]:
            lines += ["", f"### `{name}` {{ #{name.replace('.', '-')} }}", "", *_blocks(text)]
    return "\n".join(lines) + "\n"


def _blocks(text: str) -> Iterator[str]:
    """Returns the paragraphs of a docstring; those that show commands become code."""
    for paragraph in text.split("\n\n"):
        lines = [line.strip() for line in paragraph.splitlines()]
        title, shown = (lines[:1], lines[1:]) if lines[0].endswith(":") else ([], lines)
        if any(line.startswith("python -m") for line in shown):
            yield from (*title, *[""][: len(title)], "```bash", *shown, "```", "")
        else:
            yield from (" ".join(lines), "")
