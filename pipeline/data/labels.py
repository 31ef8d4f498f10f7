"""Class names for files: from folders, from a JSON or CSV file, or as found beside the images."""

from __future__ import annotations

import csv
import difflib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import UserError

MODES = ("folders", "none")


def class_names(found: Iterable[str]) -> tuple[str, ...]:
    """The distinct names in their order: by number if all are numbers, else by letters."""
    names = set(found)
    numbers = all(name.isascii() and name.isdigit() for name in names)
    return tuple(sorted(names, key=(lambda name: (int(name), name)) if numbers else None))


def from_folders(names: Sequence[str]) -> list[str] | None:
    """The first folder of each name, below the folders that all share; None if there are none."""
    parts = [name.split("/") for name in names]
    while parts and all(len(part) > 1 and part[0] == parts[0][0] for part in parts):
        parts = [part[1:] for part in parts]
    flat = [name for name, part in zip(names, parts, strict=True) if len(part) == 1]
    if len(flat) == len(names):
        return None
    if flat:
        raise UserError(
            f"{flat[0]}: lies in no class folder while other images do; "
            "move it into one, or allowed: --labels none"
        )
    return [part[0] for part in parts]


def read_labels(path: Path) -> dict[str, str]:
    """File name -> class name from JSON ({name: class}, or {"labels": [[name, class], ...]}) or CSV
    (name,class a line)."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot read as labels ({error}); allowed: folders, none, a file") from error
    if path.suffix.lower() == ".csv":
        return _from_rows(path, [row for row in csv.reader(io.StringIO(text)) if row])
    if path.suffix.lower() != ".json":
        raise UserError(f"{path}: labels must be folders, none, or a file ending in .json or .csv")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({error})") from error
    return _from_json(path, content)


def apply_labels(labels: Mapping[str, str], names: Sequence[str], path: Path) -> list[str]:
    """The class of each of `names`; UserError for a name without a class, or a class without a name."""
    known = set(names)
    for name in labels:
        if name not in known:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"; the nearest is {near[0]}" if near else ""
            raise UserError(f"{path}: {name}: no such image in the source{hint}")
    missing = [name for name in names if name not in labels]
    if missing:
        raise UserError(f"{path}: no class for {missing[0]} ({len(missing)} images have none)")
    return [labels[name] for name in names]


def _from_json(path: Path, content: Any) -> dict[str, str]:
    if isinstance(content, dict) and isinstance(content.get("labels"), list):
        rows = content["labels"]
        if not all(isinstance(row, list) for row in rows):
            raise UserError(f"{path}: labels: must be a list of [name, class]")
        return _from_rows(path, rows)
    if not isinstance(content, dict):
        raise UserError(f"{path}: must be a JSON object of name: class")
    return _from_rows(path, [[name, value] for name, value in content.items()])


def _from_rows(path: Path, rows: Sequence[Sequence[Any]]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for number, row in enumerate(rows, 1):
        if len(row) != 2 or not isinstance(row[0], str) or not isinstance(row[1], str | int):
            raise UserError(f"{path}: entry {number}: {list(row)!r:.60}; must be a name and a class")
        name, value = row[0].strip(), str(row[1]).strip()
        if number == 1 and (name, value) == ("name", "class"):
            continue
        if labels.setdefault(name, value) != value:
            raise UserError(f"{path}: entry {number}: {name} has two classes, {labels[name]} and {value}")
        if not value or isinstance(row[1], bool):
            raise UserError(f"{path}: entry {number}: {name}: its class must be a name or a number")
    return labels
