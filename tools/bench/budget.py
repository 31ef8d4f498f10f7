"""The time budget of a benchmark: its parts share the minutes, say when they begin, and are listed if left
out."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence


class Budget:
    """A number of minutes that `parts` share, in their order. A part that has begun is finished, however late
    it gets; a part for which no time is left is left out."""

    def __init__(self, minutes: float, parts: Sequence[str]) -> None:
        self._minutes, self._waiting = minutes, list(parts)
        self._began = time.monotonic()
        self._share_ends = self._began
        self._left_out: list[str] = []

    def begins(self, part: str) -> bool:
        """Returns whether there is time for `part`; if so, also prints a line to standard error."""
        now, ends = time.monotonic(), self._began + 60 * self._minutes
        waiting = len(self._waiting)
        self._waiting.remove(part)
        if now >= ends:
            self._left_out.append(part)
            return False
        self._share_ends = now + (ends - now) / waiting
        print(f"[{now - self._began:.0f} of {60 * self._minutes:.0f} s] {part}", file=sys.stderr, flush=True)
        return True

    def remaining(self) -> float:
        """Returns the seconds that are left of the whole budget."""
        return max(0.0, self._began + 60 * self._minutes - time.monotonic())

    def seconds(self) -> float:
        """Returns the seconds that are left of the share of the part that began last."""
        return max(0.0, self._share_ends - time.monotonic())

    def turns(self, most: int, least: int = 1) -> Iterator[int]:
        """Yields 0, 1, ... while the share of the part lasts: at least `least` and at most `most` numbers."""
        for turn in range(most):
            if turn >= least and not self.seconds():
                print(f"  {turn} of {most} rounds, for want of time", file=sys.stderr, flush=True)
                return
            yield turn

    def leave_out(self, part: str, cause: str) -> None:
        """Records something that cannot be measured here: a part of the budget, or a piece of one."""
        self._left_out.append(f"{part} ({cause})")

    def report(self) -> None:
        """Lists what was left out."""
        if self._left_out:
            print(
                f"left out of {self._minutes:g} minutes (--minutes): {'; '.join(self._left_out)}", flush=True
            )


def add_minutes(parser: argparse.ArgumentParser, default: float) -> None:
    """Adds the option from which a budget is made."""
    parser.add_argument("--minutes", type=float, default=default, help=f"of time for all rows ({default:g})")
