"""Asking a store again: with pauses that grow and differ, for a bounded time, and only where it can help."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import NoReturn, TypeVar

from pipeline.data.stores.faults import (
    asked_to_wait,
    is_a_stores,
    is_absent,
    is_forbidden,
    is_no_host,
    may_pass,
    reason_of,
    status_of,
)
from pipeline.data.stores.place import CREDENTIALS, Remote
from pipeline.errors import RunFailed, UserError
from pipeline.words import keep_quiet

_FIRST_SECONDS, _MOST_SECONDS = 0.5, 30.0
_T = TypeVar("_T")


class Absent(Exception):
    """A store that answers has no such file."""


class GivenUp(Exception):
    """Nobody wants what was asked for any more."""


class Tally:
    """How many requests of this process had to be made again."""

    def __init__(self) -> None:
        self._count, self._lock = 0, threading.Lock()

    def add(self) -> None:
        """Counts one."""
        with self._lock:
            self._count += 1

    def take(self) -> int:
        """The count since the last look."""
        with self._lock:
            count, self._count = self._count, 0
            return count


AGAIN = Tally()


class Patience:
    """How long a store's failures are endured: `seconds` since the last success.

    Pauses are drawn from [0, 0.5 s * 2^n], 30 s at most, so that those who failed together do not come back
    together ("full jitter": Brooker 2015), and are no shorter than the store asks. given_up: whether to end
    without an answer. tell: gets a line at the first failure.
    """

    def __init__(
        self,
        place: Remote,
        seconds: float | None = None,
        *,
        given_up: Callable[[], bool] = lambda: False,
        tell: Callable[[str], None] = keep_quiet,
    ) -> None:
        self._place, self._given_up, self._tell = place, given_up, tell
        self._seconds = place.settings.patience_seconds if seconds is None else seconds
        self._failures, self._since = 0, time.monotonic()
        # The seeds of a run must neither decide pauses nor be moved on by them.
        self._chance = random.SystemRandom()

    def progressed(self) -> None:
        """A byte has come: the count of failures begins anew."""
        self._failures, self._since = 0, time.monotonic()
        if self._given_up():
            raise GivenUp

    def endure(self, error: Exception) -> None:
        """Waits before the next try. Raises Absent, UserError for what must be mended first, RunFailed if the
        time is over, and the error itself if it is no store's."""
        if isinstance(error, GivenUp | UserError | RunFailed) or not is_a_stores(error):
            raise error
        if is_absent(error):
            raise Absent(f"{self._place}: the store has no such file") from error
        if is_forbidden(error) or not may_pass(error):
            self._refuse(error)
        AGAIN.add()
        self._pause(error)

    def _pause(self, error: Exception) -> None:
        left = self._since + self._seconds - time.monotonic()
        most = min(_MOST_SECONDS, _FIRST_SECONDS * 2**self._failures)
        pause = max(self._chance.uniform(0, most), asked_to_wait(error))
        if left <= 0 or asked_to_wait(error) > left:
            raise RunFailed(
                f"{self._place}: the store fails: {reason_of(error)}, for {self._seconds:.0f} seconds and "
                f"{self._failures + 1} tries; the same command goes on when it answers"
            ) from error
        if not self._failures:
            self._tell(f"{self._place}: {reason_of(error)}; trying again for {self._seconds:.0f} seconds")
        self._failures += 1
        end = time.monotonic() + min(pause, left)
        while (rest := end - time.monotonic()) > 0 and not self._given_up():
            time.sleep(min(rest, 0.2))

    def _refuse(self, error: Exception) -> NoReturn:
        mend = "check the URL"
        if is_forbidden(error):
            mend = f"check the URL and the credentials, which come from {CREDENTIALS[self._place.kind]}"
            if status_of(error) is None:
                raise UserError(f"{self._place}: the store refuses: no valid credentials; {mend}") from error
        raise UserError(f"{self._place}: the store refuses: {reason_of(error)}; {mend}") from error

    def check_host(self, error: Exception) -> None:
        """Raises UserError if the host's name means nothing: for the first request, before which it may have
        been typed wrongly."""
        if is_no_host(error):
            raise UserError(f"{self._place}: {reason_of(error)}; check the URL") from error


def patiently(patience: Patience, ask: Callable[[], _T], *, first: bool = False) -> _T:
    """The answer of `ask`, which is asked until it succeeds or `patience` ends. first: nothing has been heard
    of this host before."""
    while True:
        try:
            return ask()
        except Exception as error:
            if first:
                patience.check_host(error)
            patience.endure(error)
