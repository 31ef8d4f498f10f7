"""Work on many numbers by several processes, whose results come in the order of the numbers."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar, cast

from pipeline.errors import UserError

_TASK = 8  # numbers
_TASKS_AHEAD = 4  # for each process: bounds memory
_ORPHAN_CHECK_SECONDS = 1.0
_FORK = multiprocessing.get_context("fork")
_T = TypeVar("_T")


def in_order(
    work: Callable[[int], _T],
    numbers: Iterable[int],
    workers: int,
    instead: Callable[[str], _T] | None = None,
    task: int = _TASK,
) -> Iterator[_T]:
    """The results of `work` for each number, in the order of `numbers`, computed by `workers` processes. They
    are forked, so that only results are pickled. `numbers` are asked for shortly before their turn.

    instead: the result of a number whose work ends the process that is at it, from the reason; without it, or
    with one worker, which is this process, all work ends. task: how many numbers a process gets at a time.
    """
    coming = iter(numbers)
    first = list(islice(coming, 1 if workers == 1 else task + 1))
    if workers == 1 or len(first) <= task:
        yield from map(work, chain(first, coming))
        return
    crew = _Crew(work, workers, instead)
    try:
        for some in _tasks(chain(first, coming), task):
            crew.begin(some)
            if crew.busy > workers * _TASKS_AHEAD:
                yield from crew.first()
        while crew.busy:
            yield from crew.first()
    finally:
        crew.leave()


class _Crew(Generic[_T]):
    """Processes at work on tasks, which end in the order in which they were begun."""

    def __init__(self, work: Callable[[int], _T], workers: int, instead: Callable[[str], _T] | None) -> None:
        self._work, self._workers, self._instead = work, workers, instead
        self._pending: deque[tuple[list[int], Future[list[_T]]]] = deque()
        self._pool = self._start()

    @property
    def busy(self) -> int:
        """The number of tasks whose results are not taken."""
        return len(self._pending)

    def begin(self, task: list[int]) -> None:
        try:
            self._pending.append((task, self._pool.submit(_task, task)))
        except BrokenProcessPool:  # told when its turn comes
            broken: Future[list[_T]] = Future()
            broken.set_exception(BrokenProcessPool())
            self._pending.append((task, broken))

    def first(self) -> list[_T]:
        """The results of the first task."""
        task, future = self._pending.popleft()
        try:
            return future.result()
        except BrokenProcessPool as error:
            if self._instead is None:
                raise UserError(
                    "a process that reads images died, most often for lack of memory; finished shards are "
                    "kept: run the same command again, with fewer workers"
                ) from error
        # Whose fault it was is not known: the first task is done one number after the other, the rest anew.
        results = [_alone(self._work, number, self._instead) for number in task]
        self.leave()
        self._pool = self._start()
        later, self._pending = self._pending, deque()
        for task, future in later:
            if future.done() and not future.cancelled() and future.exception() is None:
                self._pending.append((task, future))
            else:
                self.begin(task)
        return results

    def leave(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _start(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self._workers, _FORK, initializer=_begin, initargs=(self._work, os.getpid())
        )


def _alone(work: Callable[[int], _T], number: int, instead: Callable[[str], _T]) -> _T:
    """The result of one number from a process of its own; `instead` gives it if that process dies."""
    receiving, sending = _FORK.Pipe(duplex=False)
    process = _FORK.Process(target=_send, args=(sending, work, number, os.getpid()))
    process.start()
    sending.close()
    try:
        result, error = receiving.recv()
    except EOFError:
        process.join()
        return instead(_death(process.exitcode or 0))
    process.join()
    if error is not None:
        raise error
    return cast(_T, result)


def _send(sending: Connection, work: Callable[[int], Any], number: int, parent: int) -> None:
    _begin(work, parent)
    try:
        sending.send((work(number), None))
    except Exception as error:
        sending.send((None, error))


def _death(status: int) -> str:
    name = signal.Signals(-status).name if status < 0 else f"status {status}"
    likely = ", most often for lack of memory" if name == "SIGKILL" else ""
    return f"ends the process that reads it ({name}{likely})"


def _tasks(numbers: Iterator[int], size: int) -> Iterator[list[int]]:
    while task := list(islice(numbers, size)):
        yield task


_work: Callable[[int], Any] | None = None  # of this worker process


def _begin(work: Callable[[int], Any], parent: int) -> None:
    global _work
    _work = work
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops them
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()


def _leave_with(parent: int) -> None:
    """Ends this process when its parent is gone, since it would wait for work for ever."""
    while os.getppid() == parent:
        time.sleep(_ORPHAN_CHECK_SECONDS)
    os._exit(1)


def _task(numbers: Sequence[int]) -> list[Any]:
    assert _work is not None
    return [_work(number) for number in numbers]
