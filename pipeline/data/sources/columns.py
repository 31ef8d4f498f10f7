"""Which columns of a table hold the pictures and their classes, and what they hold."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.data.sources.extra import needed
from pipeline.data.sources.source import Wanted
from pipeline.errors import Damaged, UserError
from pipeline.reading import parse_json

_USUAL = ("label", "labels", "class", "category")  # columns of classes, in plain tables
_SHOWN = 12
_MOST_FEATURE_BYTES = 16 << 20

Schema = Any
"""A pyarrow.Schema: the library is loaded only where tables are read."""


@dataclass(frozen=True)
class Columns:
    """What to read of a table. image: the column of the pictures. label: that of the classes, if there is
    one. classes: names by class number, if the table has them. fault: why the classes are not clear. caption:
    the column of the texts that were asked for."""

    image: str
    label: str | None = None
    classes: Sequence[str] = ()
    fault: str | None = None
    caption: str | None = None


def chosen_columns(schema: Schema, wanted: Wanted, title: str) -> Columns:
    """The columns to read: those asked for, or the only ones there are. UserError if it is not clear which
    column has the pictures, or if one asked for cannot be what it should."""
    features = _features(schema)
    images = _image_columns(schema, features)
    image = _one(images, wanted.image_column, schema, title)
    label, fault = _label_column(schema, features, wanted.label_column, image, title)
    names = features.get(label or "", {}).get("names")
    named = isinstance(names, list) and all(isinstance(name, str) for name in names)
    caption = wanted.caption_column
    texts = [field.name for field in schema if _holds_texts(field.type)]
    if caption is not None and caption not in texts:
        raise UserError(
            f"{title}: --caption-column {caption}: no such texts; allowed: {_some(texts) or 'none'}"
        )
    return Columns(image, label, names if named and isinstance(names, list) else (), fault, caption)


def class_of(value: object, classes: Sequence[str], where: str) -> str:
    """The name of the class that a cell holds; UserError if it holds none."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        if classes and not 0 <= value < len(classes):
            none = "which stands for no class" if value == -1 else f"but there are {len(classes)} classes"
            raise UserError(f"{where}: class {value}, {none}")
        return classes[value] if classes else str(value)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{where}: has no class")
    return unicodedata.normalize("NFC", value.strip())


def _one(images: Sequence[str], asked: str | None, schema: Schema, title: str) -> str:
    there = _some([f"{field.name} {field.type}" for field in schema])
    if asked is not None and asked not in images:
        what = "holds no encoded pictures" if asked in schema.names else "is not there"
        raise UserError(
            f"{title}: --image-column {asked}: {what}; allowed: {_some(images) or 'none'} (of {there})"
        )
    if not images:
        raise UserError(
            f"{title}: has no column of pictures (columns: {there}); one has encoded files, as bytes or as "
            "Hugging Face's struct of bytes and path"
        )
    if asked is None and len(images) > 1:
        raise UserError(
            f"{title}: has several columns of pictures ({_some(images)}); choose one: --image-column NAME"
        )
    return asked or images[0]


def _image_columns(schema: Schema, features: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Names of the columns that may hold encoded pictures; if the features call some images, those."""
    holding = [field.name for field in schema if _holds_bytes(field.type)]
    called = [name for name in holding if features.get(name, {}).get("_type") == "Image"]
    return called or [name for name in holding if features.get(name, {}).get("_type", "Value") == "Value"]


def _holds_bytes(type: Any) -> bool:
    types = needed("pyarrow", "a table").types
    if types.is_struct(type):
        names = [type.field(number).name for number in range(type.num_fields)]
        return "bytes" in names and _holds_bytes(type.field(names.index("bytes")).type)
    return bool(types.is_binary(type) or types.is_large_binary(type) or types.is_binary_view(type))


def _label_column(
    schema: Schema, features: Mapping[str, Mapping[str, Any]], asked: str | None, image: str, title: str
) -> tuple[str | None, str | None]:
    """(the column of the classes if there is one, why it is not clear)"""
    able = [field.name for field in schema if field.name != image and _holds_classes(field.type)]
    if asked is not None:
        if asked not in able:
            kind = (
                f"is of {schema.field(asked).type}, which no class is"
                if asked in schema.names
                else "is not there"
            )
            raise UserError(f"{title}: --label-column {asked}: {kind}; allowed: {_some(able) or 'none'}")
        return asked, None
    classes = [name for name in able if features.get(name, {}).get("_type") == "ClassLabel"]
    if len(classes) > 1:
        return (
            None,
            f"{title}: has several columns of classes ({_some(classes)}); choose one: --label-column NAME",
        )
    usual = [name for name in _USUAL if name in able]
    return next(iter([*classes, *usual]), None), None


def _holds_classes(type: Any) -> bool:
    types = needed("pyarrow", "a table").types
    if types.is_dictionary(type):
        return _holds_classes(type.value_type)
    return bool(types.is_integer(type) or types.is_boolean(type) or _holds_texts(type))


def _holds_texts(type: Any) -> bool:
    types = needed("pyarrow", "a table").types
    return bool(types.is_string(type) or types.is_large_string(type) or types.is_string_view(type))


def _features(schema: Schema) -> Mapping[str, Mapping[str, Any]]:
    """What Hugging Face's `datasets` writes into a schema about each column; empty where it did not."""
    text = (schema.metadata or {}).get(b"huggingface", b"{}")
    try:
        content = parse_json(text[:_MOST_FEATURE_BYTES].decode(), "huggingface")
        features = content["info"]["features"]
        return {name: feature for name, feature in features.items() if isinstance(feature, dict)}
    except (Damaged, UnicodeDecodeError, KeyError, TypeError, AttributeError):
        return {}


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f", ... ({len(names)} in all)" if len(names) > _SHOWN else "")
