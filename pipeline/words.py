"""What a person reads: counts and names in words, lines at the terminal."""

from __future__ import annotations

import sys
from contextlib import suppress

from pipeline.reading import shown


def counted(count: int, one: str, more: str = "") -> str:
    """Like "1 image" or "2 images"; more: the plural, where it is not `one` with an s."""
    return f"{count} {one if count == 1 else more or f'{one}s'}"


def printable(name: str) -> str:
    """A file's name as a terminal takes it."""
    return name.encode("utf-8", "backslashreplace").decode()


def tell(line: str) -> None:
    """Prints a line for people to standard error."""
    with suppress(OSError):  # a terminal that is gone must not turn work that is saved into work that failed
        print(shown(line), file=sys.stderr, flush=True)


def note(line: str) -> None:
    """The same with the program's name before it, as for what interrupts other output."""
    tell(f"hrgan: {line}")


def keep_quiet(line: str) -> None:
    """Takes a line like `tell` and drops it: for all ranks but the first, so that people read it once."""
