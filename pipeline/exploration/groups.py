"""Two groups of seeds, in the ways in which a user can give them."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import Damaged, UserError
from pipeline.exploration.numbers import MOST_SEEDS, parse_seeds
from pipeline.reading import parse_json, read_text

_MOST_BYTES = 64 << 20
_FORM = 'allowed: a .csv with lines of seed,label or a .json such as {"7": "smile"}'


@dataclass(frozen=True)
class Groups:
    """Seeds with a property and seeds without it. `origin` says in words where they come from."""

    plus: tuple[int, ...]
    minus: tuple[int, ...]
    origin: str


def listed_groups(plus: str, minus: str) -> Groups:
    """Two lists of seeds, such as `0-7,12` and `20-29`. UserError if a seed is in both."""
    first, second = parse_seeds(plus, "--plus"), parse_seeds(minus, "--minus")
    both = sorted(set(first) & set(second))
    if both:
        raise UserError(f"--plus and --minus: seed {both[0]} is in both groups")
    return Groups(first, second, f"seeds {plus} less {minus}")


def labelled_groups(path: Path, plus: str, minus: str | None) -> Groups:
    """The seeds that a file labels `plus`, and those that it labels `minus` (None: all others).

    UserError if the file cannot be read, or if no seed has the label.
    """
    labels = read_labels(path)
    first = tuple(seed for seed, label in labels.items() if label == plus)
    second = tuple(seed for seed, label in labels.items() if label != plus and minus in (None, label))
    for seeds, option, name in ((first, "--plus", plus), (second, "--minus", minus or "others")):
        if not seeds:
            known = ", ".join(sorted(set(labels.values()))[:8])
            raise UserError(f"{option} {name}: {path} gives no seed that label; its labels: {known:.200}")
    return Groups(first, second, f"{plus} less {minus or 'others'} by {path.name}")


def scored_groups(path: Path, share: float) -> Groups:
    """The fraction `share` of a file's seeds with the highest scores, and the same fraction with the lowest.

    `share` is above 0 and at most 0.5. UserError for scores that are not numbers, or fewer than two seeds.
    """
    if not 0 < share <= 0.5:
        raise UserError(f"--share {share}: allowed: above 0, at most 0.5")
    scores = {seed: _score(path, seed, text) for seed, text in read_labels(path).items()}
    if len(scores) < 2 or len(set(scores.values())) < 2:
        raise UserError(f"{path}: needs two seeds or more, with scores that differ")
    ranked = sorted(scores, key=lambda seed: (scores[seed], seed))
    count = max(1, int(len(ranked) * share))
    return Groups(tuple(ranked[-count:]), tuple(ranked[:count]), f"highest less lowest by {path.name}")


def read_labels(path: Path) -> dict[int, str]:
    """Seeds and their labels from a .csv (seed,label; a first line without a number is a heading) or from a
    .json object.

    UserError for anything else, with the line.
    """
    text = _text(path)
    if path.suffix.lower() == ".json":
        pairs = _json_pairs(path, text)
    elif path.suffix.lower() == ".csv":
        pairs = _csv_pairs(path, text)
    else:
        raise UserError(f"{path}: {_FORM}")
    labels: dict[int, str] = {}
    for where, seed, label in pairs:
        if not (seed.isascii() and seed.isdigit() and len(seed) < 20 and int(seed) < 2**63):
            raise UserError(f"{path}: {where}: {seed!r:.40} is not a seed; {_FORM}")
        if labels.setdefault(int(seed), label) != label:
            raise UserError(f"{path}: {where}: seed {seed} is labelled twice")
    if not labels or len(labels) > MOST_SEEDS:
        raise UserError(f"{path}: labels {len(labels)} seeds; allowed: 1 to {MOST_SEEDS}")
    return labels


def _text(path: Path) -> str:
    try:
        return read_text(path, _MOST_BYTES)
    except FileNotFoundError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; {_FORM}") from error
    except Damaged as damage:
        raise UserError(f"{damage}; {_FORM}") from damage


def _json_pairs(path: Path, text: str) -> list[tuple[str, str, str]]:
    try:
        value = parse_json(text, str(path))
    except Damaged as damage:
        raise UserError(f"{damage}; {_FORM}") from damage
    if not isinstance(value, Mapping) or not all(isinstance(v, str | int | float) for v in value.values()):
        raise UserError(f"{path}: {_FORM}")
    return [(f"seed {seed:.40}", seed.strip(), str(label)) for seed, label in value.items()]


def _csv_pairs(path: Path, text: str) -> list[tuple[str, str, str]]:
    try:
        rows = [row for row in csv.reader(io.StringIO(text)) if row]
    except csv.Error as error:
        raise UserError(f"{path}: not CSV ({error}); {_FORM}") from error
    if rows and not rows[0][0].strip().isdigit():
        rows = rows[1:]
    for number, row in enumerate(rows, 1):
        if len(row) != 2:
            raise UserError(f"{path}: row {number} has {len(row)} columns, not 2; {_FORM}")
    return [(f"row {number}", row[0].strip(), row[1].strip()) for number, row in enumerate(rows, 1)]


def _score(path: Path, seed: int, text: str) -> float:
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise UserError(f"{path}: seed {seed}: {text!r:.40} is not a score; allowed: numbers")
    return score
