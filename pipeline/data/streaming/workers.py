"""Processes that decode ahead: each fills its own few slots of shared memory, again and again.

Slots are allocated once: fresh shared memory for each batch costs as much in page faults as copying.
"""

from __future__ import annotations

import atexit
import multiprocessing
import multiprocessing.util  # its exit handler must be registered before ours
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import NoReturn, Protocol

import torch

from pipeline.contracts import Field, ImageSpec
from pipeline.data.stores.patience import AGAIN
from pipeline.data.streaming.ahead import Stride
from pipeline.data.streaming.chunks import Decoder, Notes
from pipeline.data.streaming.slots import Samples, shared_samples
from pipeline.errors import RunFailed, UserError
from pipeline.words import SILENCE_SECONDS, note

# The trainer answers these at a step boundary; a scheduler sends them to every process of the job.
_TRAINERS_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
_ORPHAN_CHECK_SECONDS = 2.0


class WorkerDied(RunFailed):
    """A loader process has ended without being asked to."""


@dataclass(frozen=True)
class Chunk:
    """Decoded samples, which are valid until `release`: then a worker overwrites them. number: the place of
    the chunk among those of the rank."""

    number: int
    samples: Samples
    notes: Notes
    release: Callable[[], None]


class Chunks(Protocol):
    """The chunks of a rank, in order, without end."""

    def next(self) -> Chunk: ...

    def close(self) -> None: ...


class InlineChunks:
    """Decodes in this process, whenever a chunk is asked for."""

    def __init__(
        self, decoder: Decoder, stride: Stride, spec: ImageSpec, fields: Sequence[Field] = ()
    ) -> None:
        self._decoder, self._stride, self._number = decoder, stride, 0
        self._samples = shared_samples((stride.size,), spec, fields)

    def next(self) -> Chunk:
        notes = self._decoder.fill(self._samples, self._stride.positions(self._number))
        self._number += 1
        return Chunk(self._number - 1, self._samples, notes, lambda: None)

    def close(self) -> None:
        self._decoder.close()


class WorkerChunks:
    """Decodes in `workers` processes: worker k has the chunks k, k + workers, ..., and is at most `prefetch`
    of them ahead."""

    def __init__(
        self,
        make_decoder: Callable[[], Decoder],
        stride: Stride,
        spec: ImageSpec,
        workers: int,
        prefetch: int,
        fields: Sequence[Field] = (),
    ) -> None:
        self._workers: list[_Worker] = []
        self._number = 0
        for number in range(workers):
            slots = shared_samples((prefetch, stride.size), spec, fields)
            self._workers.append(_Worker(make_decoder, stride, slots, number, workers, prefetch))

    def next(self) -> Chunk:
        worker = self._workers[self._number % len(self._workers)]
        self._number += 1
        return worker.receive(self._number - 1)

    def close(self) -> None:
        for worker in self._workers:
            worker.stop()
        self._workers = []


class _Worker:
    def __init__(
        self,
        make_decoder: Callable[[], Decoder],
        stride: Stride,
        slots: Samples,
        number: int,
        workers: int,
        prefetch: int,
    ) -> None:
        self._slots = slots
        # Forked: a worker starts in milliseconds and never touches the device.
        context = multiprocessing.get_context("fork")
        self._pipe, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(
            target=_work,
            args=(theirs, make_decoder, stride, number, workers, slots, os.getpid()),
            name=f"hrgan-loader-{number}",
            daemon=True,
        )
        self._process.start()
        theirs.close()  # or the end of the worker would not end a read from the pipe
        # Python would end it with SIGTERM, which it ignores, and then wait for ever.
        atexit.register(self.stop)
        for slot in range(prefetch):
            self._free(slot)

    def receive(self, number: int) -> Chunk:
        """The rank's chunk `number`. Errors: UserError for damage, RunFailed for what cannot be read,
        WorkerDied if the process is gone."""
        try:
            # A worker's end is open in no other process, so its death ends this wait.
            self._wait()
            slot, notes, error = self._pipe.recv()
        except (EOFError, ConnectionResetError):
            self._died()
        if error is not None:
            raise error
        return Chunk(number, self._slots[slot], notes, lambda: self._free(slot))

    def _wait(self) -> None:
        """Until something has come; a person is told if that takes long."""
        waited = SILENCE_SECONDS
        while not self._pipe.poll(waited if waited == SILENCE_SECONDS else waited / 2):
            note(f"waiting for images: nothing from {self._process.name} for {waited:.0f} s")
            waited *= 2

    def stop(self) -> None:
        atexit.unregister(self.stop)
        self._pipe.close()
        self._process.kill()  # it holds nothing that another process could miss
        self._process.join()
        self._process.close()

    def _free(self, slot: int) -> None:
        try:
            self._pipe.send(slot)
        except (BrokenPipeError, ConnectionResetError):
            self._died()

    def _died(self) -> NoReturn:
        self._process.join()
        code = self._process.exitcode or 0
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        raise WorkerDied(
            f"loader worker {self._process.name} {how}; SIGKILL is most often memory: "
            "lower data.workers or data.prefetch, or ask for more memory"
        )


def _work(
    pipe: Connection,
    make_decoder: Callable[[], Decoder],
    stride: Stride,
    number: int,
    workers: int,
    slots: Samples,
    parent: int,
) -> None:
    for name in _TRAINERS_SIGNALS:
        signal.signal(name, signal.SIG_IGN)
    torch.set_num_threads(1)
    AGAIN.take()  # what the parent has counted is the parent's
    decoder = make_decoder()
    while (slot := _next_slot(pipe, parent)) is not None:
        notes: Notes = Notes()
        error: UserError | RunFailed | None = None
        try:
            notes = decoder.fill(slots[slot], stride.positions(number))
        except (UserError, RunFailed) as found:
            error = found
        try:
            pipe.send((slot, notes, error))
        except (BrokenPipeError, ConnectionResetError):
            return
        number += workers


def _next_slot(pipe: Connection, parent: int) -> int | None:
    """A slot to fill; None when the parent is done or gone.

    A killed parent closes its end of the pipe, but forked siblings may still hold a copy open, so that the
    read would wait for ever: the number of the parent tells, too.
    """
    try:
        while not pipe.poll(_ORPHAN_CHECK_SECONDS):
            if os.getppid() != parent:
                return None
        slot: int = pipe.recv()
    except (EOFError, OSError):
        return None
    return slot
