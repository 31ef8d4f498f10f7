"""Requests to stop a run: SIGTERM, SIGUSR1, SIGUSR2, Ctrl-C, a closed terminal or the time limit set a flag,
and the loop saves and ends."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from pipeline.engines.signals import STOPS, handling


class StopRequest:
    """A request to stop, if there is one; `reason` is text for the user, or None."""

    def __init__(
        self, limit_seconds: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._deadline = None if limit_seconds is None else clock() + limit_seconds
        self._signal: str | None = None

    @property
    def reason(self) -> str | None:
        if self._signal is not None:
            return self._signal
        if self._deadline is not None and self._clock() >= self._deadline:
            return "the time limit (length.time)"
        return None

    @property
    def by_signal(self) -> bool:
        """Whether a signal asked the run to stop, and not its own time limit."""
        return self._signal is not None

    @contextmanager
    def listening(self) -> Iterator[StopRequest]:
        """Catches the signals inside the block, and restores the previous handlers after it."""
        with handling(STOPS, self._handle):
            yield self

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        # A second Ctrl-C stops at once: the checkpoints on disk are complete whatever happens here.
        if self._signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._signal = signal.Signals(number).name
