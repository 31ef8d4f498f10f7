"""Classes as a user gives them: numbers, ranges of numbers, and names."""

from __future__ import annotations

import difflib
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.reader import read_labels
from pipeline.errors import UserError

ALL = "all"


@dataclass(frozen=True)
class Classes:
    """Class numbers, and a weight for each. Without weights, images take the classes in turn."""

    numbers: tuple[int, ...] = ()
    weights: tuple[float, ...] = ()


def parse_classes(text: str, names: Sequence[str], count: int) -> Classes:
    """`"0,3-5,smile"` -> 0, 3, 4, 5 and the number of smile, in the given order; `"all"` -> every class;
    `"0:3,smile:1"` -> 0 with weight 3 and smile with weight 1.

    `names` are those of the model's classes, by number, and may be empty; `count` is how many classes the
    model has. A plain number is always a class number. UserError for classes that the model does not have.
    """
    if count == 0:
        raise UserError(f"--classes {text}: this generator was trained without classes; leave it out")
    words = [word.strip() for word in text.split(",")]
    if words == [ALL] and ALL not in names:
        return Classes(tuple(range(count)))
    weighed = [_weighed(word, names) for word in words]
    chosen = [(number, weight) for word, weight in weighed for number in _numbers(word, names, count)]
    numbers = tuple(number for number, _ in chosen)
    given = [weight for _, weight in chosen if weight is not None]
    if not given:
        return Classes(numbers)
    if len(given) != len(chosen):
        raise UserError(
            f"--classes {text}: some have a weight and some have none; give one to each or to none"
        )
    if len(set(numbers)) != len(numbers):
        raise UserError(f"--classes {text}: names a class twice; with weights, name each once")
    return Classes(numbers, tuple(given))


def classes_like(index: ShardIndex, names: Sequence[str], count: int) -> Classes:
    """All classes of `index`, weighted by how many of its images have them. UserError if they are not the
    classes that the generator has."""
    if not index.classes:
        raise UserError(f"--classes-like {index.root}: its images have no classes")
    known = tuple(names) or tuple(str(number) for number in range(count))
    if index.classes != known:
        raise UserError(f"--classes-like {index.root}: its classes are not the generator's")
    counts = Counter(read_labels(index))
    numbers = tuple(sorted(counts))
    return Classes(numbers, tuple(float(counts[number]) for number in numbers))


def _weighed(word: str, names: Sequence[str]) -> tuple[str, float | None]:
    head, colon, tail = word.rpartition(":")
    if not colon or word in names:
        return word, None
    try:
        weight = float(tail)
    except ValueError:
        return word, None
    if not (math.isfinite(weight) and weight > 0):
        raise UserError(f"--classes {word}: a weight must be a number above 0")
    return head.strip(), weight


def _numbers(word: str, names: Sequence[str], count: int) -> Sequence[int]:
    if word.isascii() and word.isdigit():
        return [_known(int(word), word, count)]
    if word in names:
        return [list(names).index(word)]
    span = re.fullmatch(r"([0-9]+)\s*-\s*([0-9]+)", word)
    if span is None:
        near = difflib.get_close_matches(word, names, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UserError(f"--classes: unknown class {word!r}; allowed: {_allowed(names, count)}{hint}")
    first, last = (_known(int(end), word, count) for end in span.groups())
    if first > last:
        raise UserError(f"--classes {word}: goes backwards; write {last}-{first}")
    return range(first, last + 1)


def _known(number: int, word: str, count: int) -> int:
    if number >= count:
        raise UserError(f"--classes {word}: there is no class {number}; allowed: 0 to {count - 1}")
    return number


def _allowed(names: Sequence[str], count: int) -> str:
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return f"0 to {count - 1}" + (f", ranges such as 0-{count - 1}, or names: {shown}" if names else "")
