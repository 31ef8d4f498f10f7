"""What a person reads: counts and names in words, tables, lines at the terminal."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Literal

from pipeline.reading import shown

_LONGEST_LINE = 1 << 20
SILENCE_SECONDS = 5.0
"""After so long without a word a person wants to know what a program is doing."""
LOADING_SECONDS = 15.0
"""The same for torch, which every rank loads, at once on one disk."""


def counted(count: int, one: str, more: str = "") -> str:
    """Like "1 image" or "2 images"; more: the plural, where it is not `one` with an s."""
    return f"{count} {one if count == 1 else more or f'{one}s'}"


def printable(name: str) -> str:
    """A file's name as a terminal takes it."""
    return name.encode("utf-8", "backslashreplace").decode()


def table(
    rows: Sequence[Sequence[str]],
    heads: Sequence[str] | None = None,
    *,
    align: Literal["left", "right"] = "left",
    indent: int = 0,
) -> str:
    """Rows in columns, a line each, under their heads; two spaces between columns, `indent` before the first.

    At a terminal, cells are wrapped where its width does not suffice. Elsewhere a row is a line, however
    long, so that programs can read it.
    """
    from rich.console import Console  # takes a tenth of a second, which help does not need
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, show_header=heads is not None, header_style="")
    for head in heads if heads is not None else [""] * max(map(len, rows), default=0):
        drawn.add_column(Text(shown(head)), justify=align, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(shown(cell)) for cell in row))
    widest = Console(width=_LONGEST_LINE).measure(drawn).maximum
    width = Console().width - indent if sys.stdout.isatty() else widest
    console = Console(width=max(width, 1), color_system=None)
    with console.capture() as capture:
        console.print(drawn)
    return "\n".join(" " * indent + line.rstrip() for line in capture.get().splitlines())


def tell(line: str) -> None:
    """Prints a line for people to standard error."""
    with suppress(OSError):  # a terminal that is gone must not turn work that is saved into work that failed
        print(shown(line), file=sys.stderr, flush=True)


def note(line: str) -> None:
    """The same with the program's name before it, as for what interrupts other output."""
    tell(f"hrgan: {line}")


def keep_quiet(line: str) -> None:
    """Takes a line like `tell` and drops it: for all ranks but the first, so that people read it once."""


@contextmanager
def patiently(what: str, say: Callable[[str], object] = note, seconds: float | None = None) -> Iterator[None]:
    """Says what is being waited for while what is inside takes long: after so many seconds, or
    SILENCE_SECONDS, and whenever twice as many have passed.

    what: such as "reading the index". say: is called from another thread.
    """
    done = threading.Event()

    def speak() -> None:
        waited = pause = SILENCE_SECONDS if seconds is None else seconds
        while not done.wait(pause):
            say(f"{what}: {waited:.0f} s so far")
            waited, pause = 2 * waited, waited

    speaker = threading.Thread(target=speak, name="hrgan-patience", daemon=True)
    speaker.start()
    try:
        yield
    finally:
        done.set()
        speaker.join()
