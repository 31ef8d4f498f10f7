"""Classes as a person names them: numbers, ranges of numbers, names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from pipeline.errors import UserError


def parse_classes(text: str, names: Sequence[str], count: int) -> tuple[int, ...]:
    """`"0,3-5,smile"` -> (0, 3, 4, 5, number of smile): class numbers in the order given.

    names: of the model's classes by number, may be empty. count: how many classes the model has. A plain
    number is always a class number. UserError for what the model does not have.
    """
    if count == 0:
        raise UserError(f"--classes {text}: this generator was trained without classes; leave it out")
    words = [word.strip() for word in text.split(",")]
    return tuple(number for word in words for number in _numbers(word, names, count))


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
