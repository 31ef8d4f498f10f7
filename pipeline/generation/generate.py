"""From seeds to a data set of shards that can be verified, evaluated and trained on."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipeline.contracts import Sampler
from pipeline.data.index import ShardIndex
from pipeline.data.sink import ShardSink
from pipeline.generation.request import Request
from pipeline.storage.pictures import Pixels, encode_picture, to_uint8

_AHEAD = 3
"""Batches that may be drawn or in the encoders before the first of them is written."""


def generate_shards(
    request: Request,
    make_sampler: Callable[[], Sampler],
    out: Path,
    *,
    shard_size: int = 1000,
    encoders: int | None = None,
    progress: bool = True,
) -> ShardIndex:
    """Writes the request's images into shards in `out`, going on where an interrupted run stopped.

    Samples are keyed seed-<seed>; each has its seed, psi, snapshot digest (and class) in its .json, and
    its label if the generator is conditional. The bytes are a function of the request and `shard_size`.
    UserError if `out` holds anything but the same request's shards.
    encoders: threads that encode; None: one a core, at most 8. make_sampler: called if there is work.
    """
    spec = request.snapshot.spec
    with ShardSink(
        out,
        name="images",
        height=spec.height,
        width=spec.width,
        channels=spec.channels,
        classes=_class_names(request),
        origin=request.origin(),
        shard_size=shard_size,
    ) as sink:
        if not sink.complete:
            threads = encoders if encoders is not None else min(os.cpu_count() or 1, 8)
            with Assembly(request, make_sampler(), threads) as assembly:
                _write(assembly, sink, request, progress)
    return ShardIndex.read(out)


def _class_names(request: Request) -> Sequence[str]:
    snapshot = request.snapshot
    return snapshot.classes or [str(number) for number in range(snapshot.spec.classes)]


def _write(assembly: Assembly, sink: ShardSink, request: Request, progress: bool) -> None:
    first = sink.finished
    with tqdm(total=request.count, initial=first, unit="img", desc="generate", disable=not progress) as bar:
        for image in assembly.images(first):
            sink.write(image.key, image.file.result(), request.kind, image.label, image.meta)
            bar.update()


@dataclass(frozen=True)
class Image:
    """One image on its way to the disk; `file` is its bytes as soon as a thread has encoded them."""

    key: str
    file: Future[bytes]
    label: int | None
    meta: dict[str, Any]


class Assembly:
    """One thread draws, several encode, the caller writes: none waits while another has work for it."""

    def __init__(self, request: Request, sampler: Sampler, threads: int) -> None:
        self._request, self._sampler = request, sampler
        self._drawing = ThreadPoolExecutor(1, "draw")
        self._encoding = ThreadPoolExecutor(threads, "encode")

    def __enter__(self) -> Assembly:
        return self

    def __exit__(self, *_: object) -> None:
        for pool in (self._drawing, self._encoding):
            pool.shutdown(wait=True, cancel_futures=True)

    def images(self, first: int) -> Iterator[Image]:
        """The request's images from number `first` on, in order."""
        batches = [numbers for numbers in self._request.numbers if numbers.stop > first]
        drawn: deque[Future[list[Image]]] = deque()
        for numbers in batches:
            drawn.append(self._drawing.submit(self._draw, numbers, first))
            if len(drawn) == _AHEAD:
                yield from drawn.popleft().result()
        while drawn:
            yield from drawn.popleft().result()

    def _draw(self, numbers: range, first: int) -> list[Image]:
        fakes = self._request.draw(self._sampler, numbers)
        pixels = to_uint8(fakes.images).permute(0, 2, 3, 1).cpu().contiguous().numpy()
        labels = None if fakes.labels is None else fakes.labels.tolist()
        return [
            self._image(number, pixels[place], None if labels is None else labels[place])
            for place, number in enumerate(numbers)
            if number >= first
        ]

    def _image(self, number: int, pixels: Pixels, label: int | None) -> Image:
        request = self._request
        seed = request.seed + number
        meta = {"seed": seed, "truncation": request.truncation, "snapshot": request.snapshot.digest}
        if label is not None:
            meta["class"] = label
        file = self._encoding.submit(encode_picture, pixels, request.kind, request.quality)
        return Image(f"seed-{seed:09d}", file, label, meta)
