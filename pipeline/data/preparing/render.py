"""Pictures of a source, normalised and encoded by several processes, in the order asked for."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from pipeline.data.sources.opening import Source
from pipeline.errors import UserError
from pipeline.images.normalised import Target, Unreadable, encode, fit, is_enlarged
from pipeline.images.pixels import Remark

_TASK = 8  # pictures
_TASKS_AHEAD = 4  # for each process: bounds memory
_ORPHAN_CHECK_SECONDS = 1.0
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Rendered:
    """An encoded image, or None and the reason. remarks, values: as `Plain` has them."""

    data: bytes | None
    reason: str = ""
    enlarged: bool = False
    meta: Mapping[str, Any] = field(default_factory=dict)
    remarks: frozenset[Remark] = frozenset()
    values: tuple[float, float] | None = None


def rendered(source: Source, target: Target, numbers: Sequence[int], workers: int) -> Iterator[Rendered]:
    """The pictures `numbers` of `source`, in that order whichever process made them."""
    return in_order(partial(render, source, target), numbers, workers)


def in_order(work: Callable[[int], _T], numbers: Sequence[int], workers: int) -> Iterator[_T]:
    """`work` of each number, done by `workers` processes (forked: `work` is not pickled, results are), in
    the order of `numbers`."""
    if workers == 1 or len(numbers) <= _TASK:
        yield from map(work, numbers)
        return
    pool = ProcessPoolExecutor(
        workers,
        multiprocessing.get_context("fork"),
        initializer=_begin,
        initargs=(work, os.getpid()),
    )
    tasks = iter([numbers[i : i + _TASK] for i in range(0, len(numbers), _TASK)])
    pending: deque[Future[list[_T]]] = deque()
    try:
        for task in tasks:
            pending.append(pool.submit(_task, task))
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


def render(source: Source, target: Target, number: int) -> Rendered:
    """One picture."""
    try:
        picture = source.picture(number)
        fitted = fit(picture.image, target)
    except Unreadable as reason:
        return Rendered(None, str(reason))
    enlarged = is_enlarged(picture.image, target)
    return Rendered(encode(fitted, target), "", enlarged, picture.meta, picture.remarks, picture.values)


_work: Callable[[int], Any] | None = None  # of this worker process


def _begin(work: Callable[[int], Any], parent: int) -> None:
    global _work
    _work = work
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops them
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()


def _leave_with(parent: int) -> None:
    """Ends this process when its parent is gone: it would wait for work for ever."""
    while os.getppid() == parent:
        time.sleep(_ORPHAN_CHECK_SECONDS)
    os._exit(1)


def _task(numbers: Sequence[int]) -> list[Any]:
    assert _work is not None
    return [_work(number) for number in numbers]
