"""The reference of the command line, written from the program's own commands, arguments and options."""

from __future__ import annotations

import html
import inspect
import re
from collections.abc import Iterator, Sequence
from typing import Any

from typer.main import get_command

Walked = tuple[tuple[str, ...], Any, Any]
"""Words of a command, the command, and the context in which it parses."""


def walk(command: Any, words: tuple[str, ...] = ("hrgan",), parent: Any = None) -> Iterator[Walked]:
    """Yields every command below `command`, groups before their members, in the order of the help."""
    context = command.context_class(command, info_name=words[-1], parent=parent)
    yield words, command, context
    if hasattr(command, "list_commands"):
        for name in command.list_commands(context):
            yield from walk(command.get_command(context, name), (*words, name), context)


def page() -> str:
    """Returns the reference in Markdown: a section for each command of `hrgan`, with arguments, options and
    examples."""
    from launch.main import app

    lines = [
        "# Command line",
        "",
        "This page is generated from the program and says what `hrgan COMMAND --help` says.",
        "",
        "| command | what it does |",
        "|---|---|",
    ]
    known = list(walk(get_command(app)))
    for words, command, _ in known[1:]:
        first = _prose(command.help or "").split("\n\n")[0]
        lines.append(f"| [`{' '.join(words)}`](#{'-'.join(words)}) | {_cell(' '.join(first.split()))} |")
    for words, command, context in known:
        lines += ["", *_section(words, command, context)]
    return "\n".join(lines) + "\n"


def _section(words: tuple[str, ...], command: Any, context: Any) -> list[str]:
    depth = "#" * min(len(words) + 1, 4)
    usage = [piece for piece in command.collect_usage_pieces(context) if piece]
    lines = [f"{depth} `{' '.join(words)}` {{ #{'-'.join(words)} }}", ""]
    lines += ["```text", " ".join([context.command_path, *usage]), "```", "", _prose(command.help or "")]
    if examples := _examples(command.help or ""):
        lines += ["", "```bash", *examples, "```"]
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.get_params(context) if p.param_type_name == "option"]
    lines += _table("argument", arguments, context) + _table("option", options, context)
    return lines


def _prose(text: str) -> str:
    """Returns a command's description without its examples, as paragraphs of whole lines."""
    text = inspect.cleandoc(text).split("\b")[0].strip()
    return re.sub(r"(?<!\n)\n(?!\n)", " ", text)


def _examples(text: str) -> list[str]:
    _, _, rest = inspect.cleandoc(text).partition("Examples:")
    return [line.strip() for line in rest.splitlines() if line.strip()]


def _table(title: str, parameters: Sequence[Any], context: Any) -> list[str]:
    records = [record for p in parameters if (record := p.get_help_record(context)) is not None]
    if not records:
        return []
    rows = [f"| {_named(left)} | {_cell(_about(right))} |" for left, right in records]
    return ["", f"| {title} | meaning |", "|---|---|", *rows]


def _named(left: str) -> str:
    """Returns what is typed: names and the kind of value, such as `--seed <whole number>`."""
    for kind, word in (
        ("int range", "number"),
        ("float range", "number"),
        ("int", "number"),
        ("str", "text"),
    ):
        left = left.replace(f"<{kind}>", f"<{word}>")
    return f"`{left}`".replace("|", "\\|")


def _about(right: str) -> str:
    """Returns the help text, with its last brackets, such as `[default: 0; x>=0]`, as a sentence."""
    text, bracket, besides = " ".join(right.split()).rpartition("[")
    if not bracket or not besides.endswith("]"):
        return " ".join(right.split())
    said = re.sub(r"(\S+)<=x<=(\S+)", r"\1 to \2", besides[:-1])
    said = said.replace("x>=", "at least ").replace("x<=", "at most ")
    return f"{text.strip()} ({said})"


def _cell(text: str) -> str:
    """Returns text for a cell of a table, where a bar or a tag would end it."""
    return html.escape(text, quote=False).replace("|", "\\|")
