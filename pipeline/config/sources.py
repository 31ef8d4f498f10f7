"""Where a configuration's values come from: YAML files that inherit, and `a.b=c` overrides."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from pipeline.config.shipped import absent, find
from pipeline.errors import Damaged, UserError
from pipeline.reading import read_text
from pipeline.versions import Stored

FORMAT = Stored(version=1, unstated=1)
"""Of configurations: those that people write state none."""

Key = tuple[str, ...]
"""Where a value stands: ("batch", "size")."""

_SCALARS = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "int": (r"[-+]?[0-9][0-9_]*", "-+0123456789"),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9][0-9_]*\.[0-9]*)([eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
}
_TAG = "tag:yaml.org,2002:"
_MOST_BYTES, _DEEPEST = 1 << 18, 32


class ScalarLoader(yaml.SafeLoader):
    """YAML whose plain scalars mean what a person reads: 1e-4 is a number, `off` is a word, and
    1:30 is not 90 (YAML 1.1 has all three the other way round)."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012
    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """One node and what is in it, each level deeper on Python's own stack."""
        self._depth += 1
        if self._depth > _DEEPEST:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem=f"nested deeper than {_DEEPEST}", problem_mark=mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


for _name, (_pattern, _first) in _SCALARS.items():
    ScalarLoader.add_implicit_resolver(_TAG + _name, re.compile(f"(?:{_pattern})$"), list(_first))


@dataclass(frozen=True)
class Layer:
    """A file or an override that sets values. label: its name in messages. tree: what it sets. lines: where
    each key stands in it, counted from 1; 0 in an override."""

    label: str
    tree: dict[str, Any]
    lines: dict[Key, int] = field(default_factory=dict)

    def place(self, key: Key) -> str | None:
        """Where this layer sets `key`, such as `a.yaml line 3`; None if it does not."""
        if key not in self.lines:
            return None
        line = self.lines[key]
        return f"{self.label} line {line}" if line else self.label


class _Tree:
    """Builds plain values from the nodes of a YAML file, strictly, and remembers the line of each key."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.lines: dict[Key, int] = {}
        self._seen: set[int] = set()
        self._loader = ScalarLoader("")

    def build(self, node: yaml.Node, key: Key) -> Any:
        if id(node) in self._seen:
            raise self._error(node, "anchors and aliases are not allowed; use `inherit:` to share settings")
        self._seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, key)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(child, (*key, str(i))) for i, child in enumerate(node.value)]
        return self._scalar(node, key)

    def _mapping(self, node: yaml.MappingNode, key: Key) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        for name_node, value_node in node.value:
            name = name_node.value
            if not isinstance(name_node, yaml.ScalarNode) or not re.fullmatch(r"[A-Za-z_]\w*", name):
                raise self._error(name_node, f"{_shown(name)} is not a key; allowed: a word such as batch")
            path = (*key, name)
            if name in tree:
                first = self.lines[path]
                raise self._error(name_node, f"{'.'.join(path)} is given twice (first in line {first})")
            self.lines[path] = name_node.start_mark.line + 1
            tree[name] = self.build(value_node, path)
        return tree

    def _scalar(self, node: yaml.Node, key: Key) -> Any:
        kind = node.tag.removeprefix(_TAG)
        if kind == "str":
            return self._text(node, key)
        if kind not in _SCALARS:
            raise self._error(node, f"tag {node.tag} is not allowed; allowed: plain values")
        try:
            return self._loader.construct_object(node)
        except (ValueError, KeyError, yaml.YAMLError):
            raise self._error(node, f"{_shown(node.value)} is not a {kind}") from None

    def _text(self, node: yaml.Node, key: Key) -> str:
        text = str(node.value)
        if re.search("[\ud800-\udfff]", text):  # from an escape, or from bytes on the command line
            raise self._error(node, f"{'.'.join(key)}: {_shown(text)} is no text that UTF-8 can hold")
        # In other tools these stand for a value that is looked up or given later; here they would be text.
        if "${" in text or text == "???":
            what = f"{'.'.join(key)}={text}" if key else text
            raise self._error(node, f"{what}: interpolation is not allowed; write the value itself")
        return text

    def _error(self, node: yaml.Node, text: str) -> UserError:
        return UserError(f"{self.label} line {node.start_mark.line + 1}: {text}")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


@contextmanager
def _explained(label: str) -> Iterator[None]:
    try:
        yield
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f" line {mark.line + 1}" if mark else ""
        raise UserError(f"{label}{line}: not valid YAML: {error.problem or error.context}") from None
    except UserError:
        raise
    except (yaml.YAMLError, ValueError, OverflowError):  # of letters beyond the last, too
        raise UserError(f"{label}: not a YAML text file") from None


def _compose(text: str, label: str) -> yaml.Node | None:
    with _explained(label):
        return yaml.compose(text, Loader=ScalarLoader)


def read_section(path: Path, name: str) -> Any:
    """The value of one top-level key of a file; None if it has none. Fast: what follows it is not read."""
    label = str(path)
    with _explained(label):
        loader = ScalarLoader(_text(path))
        for kind in (yaml.StreamStartEvent, yaml.DocumentStartEvent, yaml.MappingStartEvent):
            if not loader.check_event(kind):
                return None
            loader.get_event()  # type: ignore[no-untyped-call]
        while not loader.check_event(yaml.MappingEndEvent):
            key, value = loader.compose_node(None, 0), loader.compose_node(None, 1)
            if key is not None and value is not None and key.value == name:
                return _Tree(label).build(value, (name,))
    return None


def read_layers(path: Path, chain: Sequence[Path] = ()) -> list[Layer]:
    """The file's layers, most basic first: what it inherits (recursively), then itself."""
    layer = _read_layer(path)
    try:
        tree = FORMAT.current(layer.tree, layer.place(("format",)) or str(path))
    except Damaged as damage:
        raise UserError(str(damage)) from damage
    layer = replace(layer, tree=tree)
    parents = layer.tree.pop("inherit", [])
    place = layer.place(("inherit",))
    if isinstance(parents, str):
        parents = [parents]
    if not isinstance(parents, list) or not all(isinstance(p, str) and p for p in parents):
        raise UserError(f"{place}: inherit={_shown(parents)}: must be a file name or a list of them")
    chain = [*chain, path]
    layers: list[Layer] = []
    for name in parents:
        parent = Path(os.path.normpath(path.parent / name))
        if not parent.is_file():  # a copy of one that comes with hrgan still inherits from those
            parent = find(name) or parent
        if parent.resolve() in [p.resolve() for p in chain]:
            route = " -> ".join(str(p) for p in [*chain, parent])
            raise UserError(f"{place}: inherit={name}: goes in a circle: {route}")
        if not parent.is_file():
            raise UserError(f"{place}: inherit={name}: {absent(parent)}")
        layers += read_layers(parent, chain)
    return [*layers, layer]


def _read_layer(path: Path) -> Layer:
    label = str(path)
    node = _compose(_text(path), label)
    if node is None:
        raise UserError(f"{label}: empty; allowed: YAML of the form `key: value`")
    if not isinstance(node, yaml.MappingNode):
        raise UserError(f"{label}: not a configuration; allowed: YAML of the form `key: value`")
    tree = _Tree(label)
    return Layer(label, tree.build(node, ()), tree.lines)


def _text(path: Path) -> str:
    if os.path.isdir(path):  # false for what no file can be called
        raise UserError(f"{path}: {absent(path)}")
    try:
        return read_text(path, _MOST_BYTES)
    except FileNotFoundError:
        raise UserError(f"{path}: {absent(path)}") from None
    except Damaged as damage:
        raise UserError(f"{damage}; allowed: YAML of the form `key: value`") from damage


def read_override(text: str) -> Layer:
    """The override `a.b=c` as a layer. Its value is read as YAML: `null`, `[a, b]` and `1e-4` work."""
    name, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", name):
        raise UserError(f"override {text!r}: expected key.path=value, such as batch.size=16")
    label = "override"
    key = tuple(name.split("."))
    tree = _Tree(label)
    try:
        node = _compose(value, label)
        built = tree.build(node, key) if node is not None else None
    except UserError as error:
        reason = str(error).removeprefix(f"{label} line 1: ")
        raise UserError(f"{label}: {reason}" if name in reason else f"{label}: {text}: {reason}") from None
    lines = {**dict.fromkeys(tree.lines, 0), key: 0}
    inner: dict[str, Any] = {key[-1]: built}
    for name in reversed(key[:-1]):
        inner = {name: inner}
    return Layer("override", inner, lines)
