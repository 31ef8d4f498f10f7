"""The reference of all settings, generated from the schemas: key, allowed values, default, meaning."""

from __future__ import annotations

import enum
import inspect
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipeline.config.cluster import ClusterConfig
from pipeline.config.load import MAY_CHANGE
from pipeline.config.run import RunConfig
from pipeline.config.units import parse_count, parse_count_or_auto, parse_seconds

FOLDER = "reference/settings"


@dataclass(frozen=True)
class Setting:
    """One key of a schema: its dotted name, allowed values, default in YAML, and meaning."""

    key: str
    allowed: str
    default: str
    meaning: str

    @property
    def free(self) -> bool:
        """A run may be continued under another value."""
        return any(self.key == name or self.key.startswith(f"{name}.") for name in MAY_CHANGE)


def families() -> Mapping[str, type[BaseModel]]:
    """Returns the schema of each family by name, in the schema's order."""
    union = _members(RunConfig.model_fields["family"].annotation)
    return {typing.get_args(m.model_fields["name"].annotation)[0]: m for m in union if _is_model(m)}


def settings(schema: type[BaseModel], prefix: str = "") -> Iterator[Setting]:
    """Yields every key below `schema` in its order, including those of sections; a union of schemas has a
    page of its own."""
    for name, info in schema.model_fields.items():
        key = f"{prefix}{name}"
        models = [member for member in _members(info.annotation) if _is_model(member)]
        if len(models) == 1:
            yield from settings(models[0], f"{key}.")
        elif named := _named(info.annotation):
            yield from settings(named, f"{key}.NAME.")
        elif not models:
            allowed = _allowed(info.annotation, info.metadata)
            yield Setting(key, allowed, _default(info), _meaning(info.description))


def pages() -> Mapping[str, str]:
    """Returns pages in Markdown by path: the run's settings, one page per family, and the cluster file."""
    made = {f"{FOLDER}/run.md": _run_page(), f"{FOLDER}/cluster.md": _cluster_page()}
    for name, schema in families().items():
        made[f"{FOLDER}/{name}.md"] = _family_page(name, schema)
    return made


def _run_page() -> str:
    lines = [
        "# Settings of a run",
        "",
        "This page is generated from the schema. A file gives settings as YAML; `key.path=value` on the "
        "command line overrides them. Counts are written `25M` or `200k`, times `1h30m`. Settings marked "
        "*free* may differ between two starts of the same run; all others belong to it.",
        "",
        "Settings below `family` depend on `family.name`: "
        + ", ".join(f"[{name}]({name}.md)" for name in families())
        + ".",
    ]
    single = [setting for setting in settings(RunConfig) if "." not in setting.key]
    lines += ["", "## Without a section", "", *_entries(single)]
    for name, info in RunConfig.model_fields.items():
        models = [member for member in _members(info.annotation) if _is_model(member)]
        if named := _named(info.annotation):
            lines += [f"## {name}", "", f"{_meaning(info.description)} NAME stands for a name of them.", ""]
            lines += _entries(settings(named, f"{name}.NAME."))
        elif len(models) == 1:
            lines += [f"## {name}", "", _meaning(models[0].__doc__), ""]
            lines += _entries(settings(models[0], f"{name}."))
    return "\n".join(lines) + "\n"


def _family_page(name: str, schema: type[BaseModel]) -> str:
    lines = [
        f"# Settings of {name}",
        "",
        f"This page is generated from the schema; these keys hold with `family.name: {name}`. "
        "[Settings of a run](run.md) has all others.",
        "",
        _meaning(schema.__doc__),
        "",
    ]
    order = list(inspect.get_annotations(schema))
    known = [setting for setting in settings(schema, "family.") if setting.key != "family.name"]
    own = [setting for setting in known if setting.key.split(".")[1] in order]
    own.sort(key=lambda setting: order.index(setting.key.split(".")[1]))
    shared = [setting for setting in known if setting not in own]
    for title, chosen in (("Its own settings", own), ("Settings that other families have too", shared)):
        lines += [f"## {title}", "", *_entries(chosen)]
    return "\n".join(lines) + "\n"


def _cluster_page() -> str:
    lines = [
        "# The cluster file",
        "",
        "This page is generated from the schema. `hrgan submit ... --cluster FILE` reads such a file; "
        "`configs/cluster/example.yaml` is one to copy.",
        "",
        *_entries(settings(ClusterConfig), free=False),
    ]
    return "\n".join(lines) + "\n"


def _entries(known: Iterator[Setting] | Sequence[Setting], *, free: bool = True) -> list[str]:
    lines = []
    for setting in known:
        mark = " · *free*" if free and setting.free else ""
        lines += [f"### `{setting.key}` {{ #{setting.key} }}", ""]
        lines += [f"{setting.allowed} · default {setting.default}{mark}", ""]
        lines += [setting.meaning, ""]
    return lines


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "none: it must be given"
    value = info.get_default(call_default_factory=True)
    return f"`{_yaml(value, counted=_parsers(info.metadata) & {parse_count})}`"


def _yaml(value: object, *, counted: object = False) -> str:
    """A value as a configuration would write it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if counted and isinstance(value, int):
        for unit, size in (("M", 1_000_000), ("k", 1_000)):
            if value and value % size == 0:
                return f"{value // size}{unit}"
    if isinstance(value, tuple | list):
        return f"[{', '.join(_yaml(item) for item in value)}]"
    if isinstance(value, dict):
        return "{}" if not value else ", ".join(f"{k}: {_yaml(v)}" for k, v in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def _meaning(text: str | None) -> str:
    """A docstring as paragraphs; its own line breaks are those of the source."""
    paragraphs = inspect.cleandoc(text or "").split("\n\n")
    return "\n\n".join(" ".join(part.split()) for part in paragraphs).replace("*_end", "\\*_end")


def _allowed(annotation: Any, metadata: Sequence[Any]) -> str:
    """What a key may be, in words: choices, a kind with its bounds, and whether null is one."""
    members = _members(annotation)
    words = [
        _kind(member, [*metadata, *extra]) for member, extra in map(_bare, members) if member is not None
    ]
    if any(_bare(member)[0] is None for member in members):
        words.append("`null`")
    known = list(dict.fromkeys(words))
    return ", ".join(known[:-1]) + f" or {known[-1]}" if len(known) > 1 else known[0]


def _kind(kind: Any, metadata: Sequence[Any]) -> str:
    parsers = _parsers(metadata)
    if parse_count_or_auto in parsers:
        return "a whole number above 0, `auto`"
    if parse_seconds in parsers:
        return "a time above 0 (seconds, `2h`, `1h30m`)"
    if typing.get_origin(kind) is typing.Literal:
        return ", ".join(f"`{_yaml(choice)}`" for choice in typing.get_args(kind))
    if typing.get_origin(kind) in (tuple, list):
        return f"a list; each {_allowed(typing.get_args(kind)[0], ())}"
    if typing.get_origin(kind) is dict:
        return "names with values"
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return ", ".join(f"`{choice.value}`" for choice in kind)
    names = {bool: "`true` or `false`", int: "a whole number", float: "a number", str: "text"}
    name = "a count (`200k`, `25M`)" if parse_count in parsers else names.get(kind, str(kind))
    return f"{name}{_bounds(metadata)}"


def _bounds(metadata: Sequence[Any]) -> str:
    parts = []
    for bound in _flat(metadata):
        for sign, word in (("ge", "at least"), ("gt", "above"), ("le", "at most"), ("lt", "below")):
            value = getattr(bound, sign, None)
            if value is not None:
                shown = f"{value:,}" if isinstance(value, int) and value < 10**12 else f"{value:g}"
                parts.append(f"{word} {'2^63' if value == 2**63 else shown}")
    return f" {' and '.join(parts)}" if parts else ""


def _flat(metadata: Sequence[Any]) -> Iterator[Any]:
    for item in metadata:
        if isinstance(item, FieldInfo):
            yield from _flat(item.metadata)
        elif isinstance(item, annotated_types.BaseMetadata) or not isinstance(item, type):
            yield item


def _parsers(metadata: Sequence[Any]) -> set[Any]:
    return {getattr(item, "func", None) for item in metadata}


def _members(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, or the annotation alone; null's type stands for itself."""
    bare, _ = _bare(annotation)
    if typing.get_origin(bare) in (typing.Union, types.UnionType):
        return typing.get_args(bare)
    return (annotation,)


def _bare(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """An annotation without its metadata, and the metadata; null's type as None."""
    if typing.get_origin(annotation) is typing.Annotated:
        inner, *extra = typing.get_args(annotation)
        return inner, tuple(extra)
    return (None if annotation is type(None) else annotation), ()


def _named(annotation: Any) -> type[BaseModel] | None:
    """The schema of each entry of a section whose names are the user's; None of anything else."""
    values = typing.get_args(annotation)[1:] if typing.get_origin(annotation) is dict else ()
    return next(filter(_is_model, values), None)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
