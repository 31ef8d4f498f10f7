"""From seeds to a data set of shards that can be verified, evaluated and trained on."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from tqdm import tqdm

from pipeline.contracts import Sampler
from pipeline.data.index import Shard, ShardIndex
from pipeline.errors import RunFailed
from pipeline.generation.blocks import NAME, Blocks, Claim
from pipeline.generation.card import About, write_card
from pipeline.generation.computing import own_cores, repeatable
from pipeline.generation.request import Request
from pipeline.generation.selection import Selection, final_shards
from pipeline.storage.lock import one_of_writers
from pipeline.storage.pictures import Pixels, encode_picture, to_uint8

_POLL_SECONDS = 0.1


def generate_shards(
    request: Request,
    make_sampler: Callable[[], Sampler],
    out: Path,
    *,
    shard_size: int = 1000,
    cores: int | None = None,
    progress: bool = True,
    about: About | None = None,
) -> ShardIndex:
    """Writes the request's images into shards in `out`, together with every other process that does the same,
    going on where interrupted ones stopped; returns when the data set is complete.

    Samples are keyed seed-<seed>; each has its seed, psi, snapshot digest (and class) in its .json, and
    its label if the generator is conditional. The bytes are a function of the request and `shard_size`.
    UserError if `out` holds anything but the same request's shards.
    cores: for drawing on a CPU and for encoding; None: all. make_sampler: called if there is work.
    about: for the data card that is written beside the shards.
    """
    with one_of_writers(out):
        blocks = take_folder(request, out, shard_size)
        if not blocks.complete:
            with repeatable(request.device, deterministic=request.deterministic), ExitStack() as stack:
                crew = stack.enter_context(Crew(request, make_sampler(), cores or own_cores()))
                bar = stack.enter_context(
                    tqdm(total=request.count, desc="generate", unit="img", disable=not progress)
                )
                _Work(blocks, Selection(blocks, request.count), crew, bar, about or About()).run()
    return ShardIndex.read(out)


def take_folder(request: Request, out: Path, shard_size: int) -> Blocks:
    """The blocks of the request's data set in `out`. UserError if `out` holds anything else."""
    out.mkdir(parents=True, exist_ok=True)
    return Blocks(_index(request, out, shard_size), shard_size, request.count)


def _index(request: Request, out: Path, shard_size: int) -> ShardIndex:
    spec, snapshot = request.snapshot.spec, request.snapshot
    classes = snapshot.classes or [str(number) for number in range(spec.classes)]
    origin = {**request.origin(), "shard_size": shard_size, "shard_name": NAME}
    # As it will be read: a tuple is a list in JSON.
    origin = json.loads(json.dumps(origin))
    return ShardIndex(out, (), spec.height, spec.width, spec.channels, tuple(classes), origin, False)


@dataclass(frozen=True)
class Image:
    """One image on its way to the disk; `file` is its bytes as soon as a thread has encoded them."""

    row: dict[str, Any]
    key: str
    file: Future[bytes]
    meta: dict[str, Any]


class Crew:
    """Threads that draw and threads that encode: none waits while another has work for it.

    On a CPU every core draws, one image each; elsewhere one thread feeds the device.
    """

    def __init__(self, request: Request, sampler: Sampler, cores: int) -> None:
        self.request, self._sampler = request, sampler
        self.drawers = cores if request.device.type == "cpu" else 1
        self._drawing = ThreadPoolExecutor(self.drawers, "draw")
        self._encoding = ThreadPoolExecutor(cores, "encode")
        self._first, self._warm = Lock(), False

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        for pool in (self._drawing, self._encoding):
            pool.shutdown(wait=True, cancel_futures=True)

    def draw(self, numbers: range) -> Future[list[Image]]:
        """The images of `numbers`, as soon as they are drawn."""
        return self._drawing.submit(self._draw, numbers)

    def _draw(self, numbers: range) -> list[Image]:
        fakes = self._fakes(numbers)
        pixels = to_uint8(fakes.images).permute(0, 2, 3, 1).cpu().contiguous().numpy()
        labels = None if fakes.labels is None else fakes.labels.tolist()
        return [
            self._image(number, pixels[place], None if labels is None else labels[place])
            for place, number in enumerate(numbers)
        ]

    def _fakes(self, numbers: range) -> Any:
        if self._warm:
            return self.request.draw(self._sampler, numbers)
        with self._first:  # samplers may get ready at their first draw
            fakes = self.request.draw(self._sampler, numbers)
            self._warm = True
        return fakes

    def _image(self, number: int, pixels: Pixels, label: int | None) -> Image:
        request = self.request
        meta = {
            "seed": request.seed + number,
            "truncation": request.psi(number),
            "snapshot": request.snapshot.digest,
        }
        row: dict[str, Any] = {"number": number}
        if label is not None:
            meta["class"] = row["class"] = label
        file = self._encoding.submit(encode_picture, pixels, request.kind, request.quality)
        return Image(row, request.key(number), file, meta)


@dataclass(frozen=True)
class _Batch:
    """Images of a block in the making; the last ones of it or not."""

    claim: Claim
    images: Future[list[Image]]
    last: bool


class _Work:
    """Claims blocks, has them drawn and encoded ahead, writes them, until the data set is complete."""

    def __init__(
        self, blocks: Blocks, selection: Selection, crew: Crew, bar: tqdm[Any], about: About
    ) -> None:
        self._blocks, self._selection, self._crew = blocks, selection, crew
        self._bar, self._about = bar, about
        self._open: list[Claim] = []
        self._written = 0  # images of blocks that are not finished

    def run(self) -> None:
        """Returns when the index is complete, whoever completed it."""
        try:
            self._run()
        finally:
            for claim in self._open:
                claim.release()

    def _run(self) -> None:
        tasks, queue = self._tasks(), deque[_Batch]()
        while True:
            while len(queue) < self._crew.drawers + 2 and (batch := next(tasks)) is not None:
                queue.append(batch)
            if queue:
                self._write(queue.popleft())
            elif self._blocks.complete:
                return
            elif not self._settle():
                time.sleep(_POLL_SECONDS)
            if self._selection.full:
                queue.clear()

    def _tasks(self) -> Iterator[_Batch | None]:
        """Batches of one block after another, drawn from the moment they are asked for; None while there is
        nothing to claim."""
        while True:
            claim = None if self._selection.full else self._blocks.claim()
            if claim is None:
                yield None
                continue
            self._open.append(claim)
            for numbers in self._crew.request.batches(claim.numbers):
                yield _Batch(claim, self._crew.draw(numbers), numbers.stop == claim.numbers.stop)

    def _write(self, batch: _Batch) -> None:
        for image in batch.images.result():
            claim, request = batch.claim, self._crew.request
            claim.add(image.row, image.key, image.file.result(), request.kind, image.meta)
            self._written += 1
            self._bar.update()
        if batch.last:
            record = batch.claim.finish()
            self._open.remove(batch.claim)
            self._written -= len(record.images)
            self._bar.n = min(self._selection.promised + self._written, self._crew.request.count)
            self._bar.refresh()  # with what others have made meanwhile

    def _settle(self) -> bool:
        """Completes the data set if all of it is there."""
        if self._selection.full:
            self._blocks.finish(self._shards)
            return True
        if self._selection.exhausted:
            raise RunFailed(f"{self._blocks.root}: holds {self._selection.total} images")
        return False

    def _shards(self) -> Sequence[Shard]:
        request = self._crew.request
        shards = final_shards(self._blocks, self._selection, request.key)
        if shards:
            write_card(self._blocks, shards, self._selection, request, self._about)
        return shards
