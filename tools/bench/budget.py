"""A benchmark's minutes: its parts share them, say when they begin, and are named where they are left out."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence


class Budget:
    """Minutes that `parts`, in their order, share. A part that begins is finished, however late it gets; what
    comes when no time is left is left out."""

    def __init__(self, minutes: float, parts: Sequence[str]) -> None:
        self._minutes, self._waiting = minutes, list(parts)
        self._began = time.monotonic()
        self._share_ends = self._began
        self._left_out: list[str] = []

    def begins(self, part: str) -> bool:
        """True, and a line to standard error, if there is time for `part`."""
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
        """Seconds that are left of all of it."""
        return max(0.0, self._began + 60 * self._minutes - time.monotonic())

    def seconds(self) -> float:
        """What is left of the share of the part that began last."""
        return max(0.0, self._share_ends - time.monotonic())

    def turns(self, most: int, least: int = 1) -> Iterator[int]:
        """0, 1, ... as long as the part's share lasts: at least `least`, at most `most` numbers."""
        for turn in range(most):
            if turn >= least and not self.seconds():
                print(f"  {turn} of {most} rounds, for want of time", file=sys.stderr, flush=True)
                return
            yield turn

    def leave_out(self, part: str, cause: str) -> None:
        """Notes what cannot be measured here; a part of the budget or of one of its parts."""
        self._left_out.append(f"{part} ({cause})")

    def report(self) -> None:
        """Names what was left out."""
        if self._left_out:
            print(
                f"left out of {self._minutes:g} minutes (--minutes): {'; '.join(self._left_out)}", flush=True
            )


def add_minutes(parser: argparse.ArgumentParser, default: float) -> None:
    """The option that a budget is made from."""
    parser.add_argument("--minutes", type=float, default=default, help=f"of time for all rows ({default:g})")
