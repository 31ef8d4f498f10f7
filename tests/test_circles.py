"""No two files of the product import each other, in however many steps."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence

import pytest

from tests.product import PRODUCT, Source, sources


def circles(files: Sequence[Source]) -> list[str]:
    """Files that import each other, in however many steps and wherever they do; each circle in one line."""
    known = {source.module for source in files}
    graph = {
        source.module: {name for name in _files(source, known) if name != source.module} for source in files
    }
    return [" -> ".join([*circle, circle[0]]) for circle in _circles(graph)]


def _files(source: Source, known: set[str]) -> Iterator[str]:
    """The files that are imported by name, in functions and for types alone too. The file of a package is its
    __init__."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in known else str(node.module)


def _circles(graph: Mapping[str, set[str]]) -> Iterator[list[str]]:
    left = _without_ends(graph)
    while left:
        way = [min(left)]
        while (following := min(left[way[-1]] & left.keys())) not in way:
            way.append(following)
        circle = way[way.index(following) :]
        yield circle
        left = _without_ends({name: others for name, others in left.items() if name not in circle})


def _without_ends(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """What is left where files that import nothing that is left are taken out, again and again."""
    left = dict(graph)
    while ends := [name for name, others in left.items() if not others & left.keys()]:
        for name in ends:
            del left[name]
    return left


def test_no_files_import_each_other() -> None:
    assert circles(sources(*PRODUCT)) == []


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"p.a": "import p.b", "p.b": "import p.c", "p.c": "import os"}, []),
        ({"p.a": "import p.b", "p.b": "from p import a"}, ["p.a -> p.b -> p.a"]),
        ({"p.a": "from p.b import f", "p.b": "def f():\n    from p.a import g"}, ["p.a -> p.b -> p.a"]),
        (
            {"p.a": "import p.b", "p.b": "import p.c", "p.c": "import p.d, p.a", "p.d": ""},
            ["p.a -> p.b -> p.c -> p.a"],
        ),
        ({"p": "from p.a import f", "p.a": "from p.b import f", "p.b": ""}, []),
        ({"a": "import b", "b": "if TYPE_CHECKING:\n    import a"}, ["a -> b -> a"]),
        ({"a": "import b", "b": "if x:\n    import a"}, ["a -> b -> a"]),
        ({"p": "from p.a import f", "p.a": "from p import other"}, ["p -> p.a -> p"]),
        (
            {"a": "import b", "b": "import a", "c": "import d", "d": "import c, a", "e": "import a"},
            ["a -> b -> a", "c -> d -> c"],
        ),
    ],
)
def test_the_rule_on_circles(files: dict[str, str], expected: list[str]) -> None:
    assert circles([Source(module, text) for module, text in files.items()]) == expected
