"""Generates a data set of shards from seeds, which can be verified, evaluated and trained on."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

from torch import Tensor
from tqdm import tqdm

from pipeline.contracts import Fakes, Sampler
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.rows import Shard
from pipeline.errors import RunFailed
from pipeline.float32 import full_float32
from pipeline.generation.blocks import NAME, Blocks, HeldBlock
from pipeline.generation.card import About, write_card
from pipeline.generation.computing import own_cores, repeatable
from pipeline.generation.filters import SAMPLE, Opinion, Panel
from pipeline.generation.neighbours import write_neighbours
from pipeline.generation.request import Request
from pipeline.generation.selection import Selection, final_shards
from pipeline.images.codec import Pixels, encode
from pipeline.images.pictures import to_uint8
from pipeline.storage.lock import one_of_writers

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
    make_panel: Callable[[], Panel] | None = None,
) -> ShardIndex:
    """Writes the requested images as shards in `out`, together with all other processes that do the same,
    continuing what interrupted ones left; returns when the data set is complete.

    Samples have the keys seed-<seed>. The .json of each has its seed, psi, snapshot digest and, if the
    generator is conditional, its class, which is also its label. The bytes depend only on the request and
    `shard_size`. UserError if `out` holds anything but shards of the same request.

    cores: how many cores drawing on a CPU and encoding may use; None means all. make_sampler: called only if
    there is work to do. about: for the data card that is published with the shards. make_panel: makes the
    judges for the request's filters; required if there are any.
    """
    full_float32()
    with one_of_writers(out):
        blocks = take_folder(request, out, shard_size)
        if not blocks.complete:
            with ExitStack() as stack:
                stack.enter_context(blocks.unless_complete())
                stack.enter_context(repeatable(request.device, deterministic=request.deterministic))
                panel = make_panel() if make_panel is not None else Panel(request.filters)
                crew = stack.enter_context(Crew(request, make_sampler(), panel, cores or own_cores()))
                if request.filters.refuse:
                    panel.least = blocks.agree("least", panel.scored, lambda: panel.settle(crew.sample))
                bar = stack.enter_context(
                    tqdm(total=request.count, desc="generate", unit="img", disable=not progress)
                )
                selection = Selection(blocks, request.count, request.filters.duplicates)
                _Work(blocks, selection, crew, bar, about or About()).run()
    return ShardIndex.read(out)


def take_folder(request: Request, out: Path, shard_size: int) -> Blocks:
    """Begins or joins the requested data set in `out`, and returns its blocks. UserError if `out` holds
    something else."""
    out.mkdir(parents=True, exist_ok=True)
    # With filters, nobody knows how many blocks will be needed; a block need not be larger than the request.
    size = min(shard_size, request.count) if request.filters.refuse else shard_size
    return Blocks(_index(request, out, shard_size), size, request.candidates)


def _index(request: Request, out: Path, shard_size: int) -> ShardIndex:
    spec, snapshot = request.snapshot.spec, request.snapshot
    classes = snapshot.classes or [str(number) for number in range(spec.classes)]
    origin = {**request.origin(), "shard_size": shard_size, "shard_name": NAME}
    # Tuples become lists, as they will be when the index is read back.
    origin = json.loads(json.dumps(origin))
    return ShardIndex(out, (), spec.height, spec.width, spec.channels, tuple(classes), origin, False)


@dataclass(frozen=True)
class Image:
    """One image on its way to the disk. `file` is its encoded bytes, once a thread has made them, or the name
    of the filter that refused it."""

    row: dict[str, Any]
    key: str
    file: Future[bytes] | str
    meta: dict[str, Any]


class Crew:
    """Threads that draw and threads that encode, working at the same time.

    On a CPU every core draws, each one image; otherwise one thread feeds the device.
    """

    def __init__(self, request: Request, sampler: Sampler, panel: Panel, cores: int) -> None:
        self.request, self.panel, self._sampler = request, panel, sampler
        self.drawers = cores if request.device.type == "cpu" else 1
        self._drawing = ThreadPoolExecutor(self.drawers, "draw")
        self._encoding = ThreadPoolExecutor(cores, "encode")
        self._first, self._warm = Lock(), False

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        for pool in (self._drawing, self._encoding):
            pool.shutdown(wait=True, cancel_futures=True)

    def batches(self, numbers: range) -> Sequence[range]:
        """The `numbers`, in the batches in which they are drawn."""
        return self.request.batches(numbers, self.panel.together)

    def draw(self, numbers: range) -> Future[list[Image]]:
        """Starts drawing the images `numbers`."""
        return self._drawing.submit(self._draw, numbers)

    def sample(self) -> list[Opinion]:
        """The panel's opinions on the first candidates."""
        parts = self.batches(range(min(SAMPLE, self.request.candidates)))
        return [one for judged in self._drawing.map(self._judged, parts) for one in judged[2]]

    def _judged(self, numbers: range) -> tuple[Tensor, list[int] | None, list[Opinion]]:
        fakes = self._fakes(numbers)
        pixels = to_uint8(fakes.images)
        labels = None if fakes.labels is None else fakes.labels.tolist()
        return pixels, labels, self.panel.opinions(pixels, fakes.labels)

    def _draw(self, numbers: range) -> list[Image]:
        images, labels, opinions = self._judged(numbers)
        pixels = images.permute(0, 2, 3, 1).cpu().contiguous().numpy()
        return [
            self._image(number, pixels[place], None if labels is None else labels[place], opinions[place])
            for place, number in enumerate(numbers)
        ]

    def _fakes(self, numbers: range) -> Fakes:
        if self._warm:
            return self.request.draw(self._sampler, numbers)
        with self._first:  # samplers may initialise themselves at their first draw
            fakes = self.request.draw(self._sampler, numbers)
            self._warm = True
        return fakes

    def _image(self, number: int, pixels: Pixels, label: int | None, opinion: Opinion) -> Image:
        request = self.request
        meta = {
            "seed": request.seed + number,
            "truncation": request.psi(number),
            "snapshot": request.snapshot.digest,
        }
        meta |= opinion.scores
        row: dict[str, Any] = {"number": number, **opinion.notes}
        text = request.text_of(number)
        if text is not None:
            meta["text"] = text
        if label is not None:
            meta["class"] = row["class"] = label
        refusal = self.panel.refusal(opinion)
        file = refusal or self._encoding.submit(encode, pixels, request.kind, request.quality)
        return Image(row, request.key(number), file, meta)


@dataclass(frozen=True)
class _Batch:
    """Images of a held block that are being made. `last` marks the block's last batch."""

    block: HeldBlock
    images: Future[list[Image]]
    last: bool


class _Work:
    """Takes blocks, has their images drawn and encoded ahead, and writes them, until the data set is
    complete."""

    def __init__(
        self, blocks: Blocks, selection: Selection, crew: Crew, bar: tqdm[Any], about: About
    ) -> None:
        self._blocks, self._selection, self._crew = blocks, selection, crew
        self._bar, self._about = bar, about
        self._open: list[HeldBlock] = []
        self._written = 0  # images written to blocks that are not finished

    def run(self) -> None:
        """Returns when the index is complete, whichever process completed it."""
        try:
            self._run()
        finally:
            self._let_go()

    def _run(self) -> None:
        tasks, queue = self._tasks(), deque[_Batch]()
        while not self._selection.full:
            while len(queue) < self._crew.drawers + 2 and (batch := next(tasks)) is not None:
                queue.append(batch)
            if queue:
                self._write(queue.popleft())
            elif self._blocks.complete:
                return
            elif self._selection.exhausted:
                raise RunFailed(self._too_few())
            else:
                time.sleep(_POLL_SECONDS)
        self._let_go()  # release the blocks that turned out not to be needed
        self._blocks.finish(self._shards)

    def _let_go(self) -> None:
        while self._open:
            self._open.pop().release()

    def _tasks(self) -> Iterator[_Batch | None]:
        """Batches of one block after another; drawing starts when a batch is asked for. None while there is
        no block to take."""
        while True:
            enough = self._selection.promised >= self._crew.request.count
            block = None if enough else self._blocks.take()
            if block is None:
                yield None
                continue
            self._open.append(block)
            for numbers in self._crew.batches(block.numbers):
                yield _Batch(block, self._crew.draw(numbers), numbers.stop == block.numbers.stop)

    def _write(self, batch: _Batch) -> None:
        block = batch.block
        for image in batch.images.result():
            if isinstance(image.file, str):
                block.refuse(image.file)
                continue
            block.add(image.row, image.key, image.file.result(), self._crew.request.kind, image.meta)
            self._written += 1
            self._bar.update()
        if batch.last:
            record = block.finish()
            self._open.remove(block)
            self._written -= len(record.images)
            self._bar.n = min(self._selection.promised + self._written, self._crew.request.count)
            self._bar.refresh()  # shows what other processes have made as well

    def _too_few(self) -> str:
        selection, request = self._selection, self._crew.request
        why = ", ".join(f"{name} {count}" for name, count in selection.refused.items())
        return (
            f"{self._blocks.root}: {selection.total} of {request.count} images after {request.candidates} "
            f"candidates; refused: {why}; ask for less by --filter or --count, or for more by --most, in "
            "another folder"
        )

    def _shards(self) -> Sequence[Shard]:
        request = self._crew.request
        shards = final_shards(self._blocks, self._selection, request.key)
        if shards:
            index = replace(self._blocks.index, shards=tuple(shards), complete=True)
            panel = self._crew.panel
            if request.filters.neighbours and panel.training is not None:
                write_neighbours(index, self._selection.rows(), request.key, panel.training)
            write_card(index, self._blocks, self._selection, request, self._about, panel.least)
        return shards
