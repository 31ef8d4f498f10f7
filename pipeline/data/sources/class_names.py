"""What classes are called, by a file: ImageNet's synsets, words instead of numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import Damaged, UserError
from pipeline.reading import parse_json, read_text

_MOST_BYTES = 1 << 26
ALLOWED = ".txt, .csv, .tsv or .json"


def called(classes: Sequence[str], path: Path) -> tuple[str, ...]:
    """The names of `classes`, in their order. Two of one name keep apart by what they were called before.

    path: rows of a class and its name, parted by a tab, a comma (.csv) or the first blank; or for classes
    that are numbers a name a line, from 0. As JSON an object of names by class, of which a list's last entry
    counts, or a list of names. Errors: UserError for a class without a name.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file of names of classes; allowed: a file ending in {ALLOWED}")
    try:
        text = read_text(path, _MOST_BYTES)
        names = _of_json(path, text) if path.suffix.lower() == ".json" else _of_lines(path, text, classes)
    except Damaged as damage:
        raise UserError(str(damage)) from damage
    missing = [name for name in classes if not names.get(name)]
    if missing:
        have = "has" if len(missing) == 1 else "have"
        raise UserError(
            f"{path}: no name for class {missing[0]} ({len(missing)} of {len(classes)} {have} none)"
        )
    counts = Counter(names[name] for name in classes)
    return tuple(names[name] if counts[names[name]] == 1 else f"{names[name]} ({name})" for name in classes)


def _of_lines(path: Path, text: str, classes: Sequence[str]) -> Mapping[str, str]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    separator = {".csv": ",", ".tsv": "\t"}.get(path.suffix.lower())
    pairs = [_parted(line, separator) for line in lines]
    known = {key: name for key, name in pairs if name}
    if any(name in known for name in classes):
        return known
    if all(name.isascii() and name.isdigit() for name in classes):
        return {str(number): line for number, line in enumerate(lines)}
    return known


def _parted(line: str, separator: str | None) -> tuple[str, str]:
    """(a class, its name)"""
    key, _, name = line.partition(separator or ("\t" if "\t" in line else " "))
    return key.strip().strip('"'), name.strip().strip('"')


def _of_json(path: Path, text: str) -> Mapping[str, str]:
    content: Any = parse_json(text, str(path))
    if isinstance(content, list):
        content = {str(number): name for number, name in enumerate(content)}
    if not isinstance(content, dict):
        raise UserError(f"{path}: must be a JSON object of names by class, or a list of names")
    last = {key: value[-1] if isinstance(value, list) and value else value for key, value in content.items()}
    wrong = next((key for key, name in last.items() if not isinstance(name, str)), None)
    if wrong is not None:
        raise UserError(f"{path}: {wrong}: {last[wrong]!r:.40}: must be a name")
    return last
