"""Many files by one name, as those who write shards do it: DATA-{000..127}.tar."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path

from braceexpand import braceexpand

from pipeline.errors import UserError

MOST_FILES = 1_000_000
_RANGE = re.compile(r"\{(-?\d+)\.\.(-?\d+)")


def is_pattern(name: str) -> bool:
    """Whether a name has braces and is itself no file or folder."""
    return "{" in name and not Path(name).exists()


def matching_files(pattern: str) -> list[Path]:
    """The files that a pattern with braces names, in its order; they must all be there. Errors: UserError."""
    # The ranges of a pattern are spelt out before the first name comes.
    wide = [match for match in _RANGE.finditer(pattern) if abs(int(match[2]) - int(match[1])) >= MOST_FILES]
    if wide:
        raise UserError(f"{pattern}: {wide[0][0]}}} is more than {MOST_FILES} names")
    try:
        names = list(islice(braceexpand(pattern), MOST_FILES + 1))
    except ValueError as error:
        raise UserError(f"{pattern}: a brace is not closed; must be such as DATA-{{000..127}}.tar") from error
    if len(names) > MOST_FILES:
        raise UserError(f"{pattern}: is more than {MOST_FILES} names")
    twice = next((name for n, name in enumerate(names) if n and name == names[n - 1]), None)
    if twice is not None or len(set(names)) < len(names):
        raise UserError(f"{pattern}: names {twice or 'a file'} twice")
    absent = [name for name in names if not Path(name).is_file()]
    if absent:
        raise UserError(f"{pattern}: {len(absent)} of {len(names)} files are not there, such as {absent[0]}")
    return [Path(name) for name in names]
