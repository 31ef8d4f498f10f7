"""Writing while training goes on: one job at a time, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class BackgroundWriter:
    """Runs jobs one after another; what goes wrong in one is raised by the next `submit` or `finish`.

    At most one job is under way: `submit` waits for the one before. A process that ends in good order
    ends its job first; a killed one leaves what was published before.
    given_up: set when a job that waits for other processes should wait no longer.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "writer")
        self._job: Future[object] | None = None
        self.given_up = threading.Event()

    def submit(self, job: Callable[[], object]) -> None:
        """Starts `job` after the one before has ended, whose error it raises."""
        self.finish()
        self._job = self._pool.submit(job)

    @property
    def busy(self) -> bool:
        """Whether a job is under way."""
        return self._job is not None and not self._job.done()

    @property
    def error(self) -> BaseException | None:
        """The error that a job ended with, if one has."""
        return self._job.exception() if self._job is not None and self._job.done() else None

    def finish(self) -> None:
        """Waits for the job that is under way, if any."""
        job, self._job = self._job, None
        if job is not None:
            job.result()
