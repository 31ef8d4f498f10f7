"""The gallery: what each family drew on a CPU, generated from the families' pages and configurations."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from pipeline.config.load import load_config
from pipeline.models.registry import FAMILIES
from tools.documents.headers import header

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "pages" / "families"
_PICTURE = re.compile(r"^!\[([^\]]*)\]\(\.\./(pictures/[^)]*)\)\n\n\*(.+?)\*$", re.MULTILINE | re.DOTALL)
_HEAD = """# Gallery

What each family drew after minutes on a CPU, from data that the program brings along or draws by itself, with
the commands that do it again. Pictures are unselected; longer runs at higher resolutions draw better ones.
"""


def page() -> str:
    """Returns the gallery in Markdown: a section for each family."""
    return "\n".join([_HEAD, *(section(name) for name in FAMILIES)])


def section(name: str) -> str:
    """Returns the picture of a family's page, and the commands of its configuration for a CPU."""
    title, picture = re.search(r"^# (.+)$", text_of(name), re.MULTILINE), picture_of(name)
    assert title is not None
    shown = [] if picture is None else [f"![{picture[0]}]({picture[1]})\n", f"*{picture[2]}*\n"]
    lines = [f"## [{title[1]}](families/{name}.md)\n", *shown]
    for stem, found in for_a_cpu(name).items():
        lines += [f"`{stem}`, hours: {found['Hours']}\n", "```bash", *commands(found), "```\n"]
    return "\n".join(lines)


def text_of(name: str) -> str:
    """Returns the page of a family."""
    return (FOLDER / f"{name}.md").read_text(encoding="utf-8")


def picture_of(name: str) -> tuple[str, str, str] | None:
    """Returns the first picture of a family's page: what it shows, its file, and the words below it; None if
    there is none with words."""
    found = _PICTURE.search(text_of(name))
    return None if found is None else (found[1], found[2], found[3])


def commands(found: Mapping[str, str]) -> list[str]:
    """Returns the commands of a header, without what is said of them."""
    return [line for line in found["Command"].split("\n") if line.startswith("hrgan ")]


def for_a_cpu(name: str) -> Mapping[str, Mapping[str, str]]:
    """Returns the headers of a family's configurations for any CPU and for data that the program has, by the
    configuration's name."""
    headers = {}
    for path in sorted((ROOT / "configs").glob("*.yaml")):
        found = header(path)
        demo = "demo:" in found.get("Command", "") and found["Hardware"].startswith("any CPU")
        if demo and load_config(path).family.name == name:
            headers[path.stem] = found
    return headers
