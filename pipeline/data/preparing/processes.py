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
from typing import Any, TypeVar

from pipeline.errors import UserError

_TASK = 8  # numbers
_TASKS_AHEAD = 4  # for each process: bounds memory
_ORPHAN_CHECK_SECONDS = 1.0
_T = TypeVar("_T")


def in_order(
    work: Callable[[int], _T], numbers: Iterable[int], workers: int, task: int = _TASK
) -> Iterator[_T]:
    """The results of `work` for each number, in the order of `numbers`, computed by `workers` processes. They
    are forked, so that only results are pickled. `numbers` are asked for shortly before their turn. task: how
    many numbers a process is given at a time."""
    coming = iter(numbers)
    first = list(islice(coming, 1 if workers == 1 else task + 1))
    if workers == 1 or len(first) <= task:
        yield from map(work, chain(first, coming))
        return
    pool = ProcessPoolExecutor(
        workers,
        multiprocessing.get_context("fork"),
        initializer=_begin,
        initargs=(work, os.getpid()),
    )
    tasks = _tasks(chain(first, coming), task)
    pending: deque[Future[list[_T]]] = deque()
    try:
        for some in tasks:
            pending.append(pool.submit(_task, some))
            if len(pending) > workers * _TASKS_AHEAD:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
    except BrokenProcessPool as error:
        raise UserError(
            "a process that reads images died, most often for lack of memory; finished shards are kept: "
            "run the same command again, with fewer workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


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
