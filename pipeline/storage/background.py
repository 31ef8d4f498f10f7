"""Writing while training goes on: one job at a time, in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class BackgroundWriter:
    """Runs jobs one after another; what goes wrong in one is raised by the next call here.

    At most one job is under way: `submit` waits for the one before. A process that ends in good order
    ends its job first; a killed one leaves what was published before.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "writer")
        self._job: Future[object] | None = None

    def submit(self, job: Callable[[], object]) -> None:
        """Starts `job`, after the one before has ended."""
        self.finish()
        self._job = self._pool.submit(job)

    def check(self) -> None:
        """Raises the error of a job that has failed; does not wait."""
        if self._job is not None and self._job.done():
            self.finish()

    def finish(self) -> None:
        """Waits for the job that is under way, if any."""
        job, self._job = self._job, None
        if job is not None:
            job.result()
