"""Tells what is wrong with a configuration, an error a line: where it is, which key, and what is allowed."""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pipeline.config.sources import Key, Layer
from pipeline.errors import UserError

_MOST_LINES = 20
_SECTION_TYPES = {"model_type", "model_attributes_type", "dict_type"}


def explain(
    error: ValidationError, schema: type[BaseModel], tree: Mapping[str, Any], layers: Sequence[Layer]
) -> UserError:
    """The UserError for a validation error: a line for each thing that is wrong."""
    keys = KnownKeys(schema, tree)
    lines = [_line(detail, keys, layers) for detail in error.errors()[:_MOST_LINES]]
    if error.error_count() > _MOST_LINES:
        lines.append(f"and {error.error_count() - _MOST_LINES} more")
    return UserError("\n".join(dict.fromkeys(lines)))


def line(layers: Sequence[Layer], key: Key, value: object, text: str) -> str:
    """An error's line, such as `configs/a.yaml line 3: batch.size=-4: must be greater than 0`."""
    shown = "" if isinstance(value, Mapping) or value is None else f"={_short(value)}"
    where = _where(layers, key)
    return ": ".join(part for part in (where, ".".join(key) + shown, text) if part)


class KnownKeys:
    """The keys of a schema that exist for the family which this configuration chooses."""

    def __init__(self, schema: type[BaseModel], tree: Mapping[str, Any]) -> None:
        self._all: dict[Key, tuple[type[BaseModel], ...]] = {(): (schema,)}
        self._tree = tree
        for key, models in self._walk((), (schema,)):
            self._all[key] = models

    def _walk(
        self, prefix: Key, models: Sequence[type[BaseModel]]
    ) -> Iterator[tuple[Key, tuple[type[BaseModel], ...]]]:
        for model in models:
            for name, info in model.model_fields.items():
                key = (*prefix, name)
                inner = self._chosen(key, tuple(_models_in(info.annotation)))
                yield key, inner
                yield from self._walk(key, inner)

    def _chosen(self, key: Key, models: tuple[type[BaseModel], ...]) -> tuple[type[BaseModel], ...]:
        """The member of a union whose `name` the configuration chose; all of them if it chose none."""
        section: Any = self._tree
        for name in key:
            section = section.get(name) if isinstance(section, Mapping) else None
        chosen = section.get("name") if isinstance(section, Mapping) else None
        matching = tuple(m for m in models if chosen in _tags(m))
        return matching or models

    def children(self, key: Key) -> list[str]:
        """The names allowed directly under `key`, beginning with the one that chooses which others exist."""
        names = [k[-1] for k in self._all if len(k) == len(key) + 1 and k[:-1] == key]
        return sorted(names, key=lambda name: name != "name")

    def tags(self, key: Key) -> list[str]:
        """The `name`s that the union at `key` allows, whichever was chosen."""
        schema = self._all[key[:-1]][0]
        members = _models_in(schema.model_fields[key[-1]].annotation)
        return [tag for member in members for tag in _tags(member)]

    def clean(self, loc: Sequence[int | str]) -> Key:
        """Pydantic's location without the union tags that it puts in."""
        key: Key = ()
        for part in map(str, loc):
            if key in self._all and self.children(key) and (*key, part) not in self._all:
                members = self._all[key]
                if any(part in _tags(member) for member in members):
                    continue
            key = (*key, part)
        return key

    def nearest(self, key: Key) -> str:
        """Advice on an unknown key: the nearest valid one, or which keys are allowed in its place."""
        siblings = self.children(key[:-1])
        names = [".".join(k) for k in self._all if k and not self.children(k)]
        joined = key[-1].replace("_", "")
        near = (
            [name for name in names if re.sub(r"[._]", "", name) == joined]  # batch_size for batch.size
            or [".".join((*key[:-1], n)) for n in difflib.get_close_matches(key[-1], siblings, n=1)]
            or [name for name in names if name.split(".")[-1] == key[-1]]
            or difflib.get_close_matches(".".join(key), names, n=1, cutoff=0.75)
        )
        if near:
            return f"did you mean {near[0]}?"
        return f"allowed here: {', '.join(siblings)}"


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from _models_in(inner)


def _tags(model: type[BaseModel]) -> tuple[str, ...]:
    info = model.model_fields.get("name")
    return typing.get_args(info.annotation) if info is not None else ()


def _line(detail: ErrorDetails, keys: KnownKeys, layers: Sequence[Layer]) -> str:
    key = keys.clean(detail["loc"])
    kind, value = detail["type"], detail["input"]
    if kind == "extra_forbidden":
        return line(layers, key, value, f"unknown key; {keys.nearest(key)}")
    if kind in _SECTION_TYPES:
        return line(
            layers, key, value, f"is a section, not a value; its keys: {', '.join(keys.children(key))}"
        )
    if kind == "missing" and keys.children(key):
        kind = "union_tag_not_found"
    if kind.startswith("union_tag"):
        return _union_line(detail, key, keys, layers)
    return line(layers, key, None if kind == "missing" else value, _text(detail))


def _union_line(detail: ErrorDetails, key: Key, keys: KnownKeys, layers: Sequence[Layer]) -> str:
    allowed = keys.tags(key)
    tag = detail.get("ctx", {}).get("tag")
    near = difflib.get_close_matches(str(tag), allowed, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    what = "unknown" if tag is not None else "missing"
    return line(layers, (*key, "name"), tag, f"{what}; allowed: {', '.join(allowed)}{hint}")


def _text(detail: ErrorDetails) -> str:
    kind = detail["type"]
    if kind == "value_error":
        return str(detail["ctx"]["error"])
    if kind == "literal_error":
        allowed = detail["ctx"]["expected"].replace(" or ", ", ").replace("'", "")
        return f"allowed: {allowed}"
    text = detail["msg"].replace("Input should be", "must be").replace("Field required", "missing")
    if kind == "tuple_type":
        return "must be a list, such as [a, b]"
    return text + ("; put it in quotes" if kind == "string_type" else "")


def _where(layers: Sequence[Layer], key: Key) -> str:
    """Where the last layer sets `key`, or else the nearest section around it."""
    for length in range(len(key), 0, -1):
        for layer in reversed(layers):
            place = layer.place(key[:length])
            if place:
                return place
    files = [layer.label for layer in layers if layer.label != "override"]
    return files[-1] if files else ""


def _short(value: object) -> str:
    text = str(value) if isinstance(value, str) else repr(value)
    text = {"True": "true", "False": "false"}.get(text, text)
    return text if len(text) <= 60 else text[:57] + "..."
