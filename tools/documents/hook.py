"""The site's hook: adds the generated and the included pages, and sets equations as MathML.

MkDocs calls these functions; `docs/mkdocs.yml` names this file. Nothing here needs a network.
"""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

from tools.documents import commands, gallery, included, metrics, programs, settings, sources

_EQUATION = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def on_files(files: Files, config: Any) -> Files:
    """Adds every page that is written by a program or lies elsewhere in the repository."""
    texts = {page: included.read(page) for page in included.INCLUDED}
    texts |= {"reference/commands.md": commands.page(), "reference/tools.md": programs.page()}
    texts["gallery.md"] = gallery.page()
    texts |= settings.pages()
    for path, text in texts.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The page with the tables that a mark in it asks for."""
    for page in (metrics, sources):
        markdown = markdown.replace(page.MARK, page.table())
    return markdown


def on_page_content(content: str, **_: Any) -> str:
    """The page's HTML with its equations as MathML, which browsers draw by themselves."""
    return _EQUATION.sub(_drawn, content)


def _drawn(equation: re.Match[str]) -> str:
    block = equation[2] == "["
    drawn: str = convert(html.unescape(equation[3]).strip(), display="block" if block else "inline")
    return drawn
