"""The images of a run, batch by batch, on the device: a function of (seed, images seen) alone."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from types import TracebackType

import torch
from torch import Tensor

from pipeline.config.run import DataConfig
from pipeline.contracts import Batch, ImageSpec, Process
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.levels import level_sizes, open_level
from pipeline.data.stores.patience import AGAIN
from pipeline.data.streaming.ahead import Stride
from pipeline.data.streaming.chunks import Decoder, Notes, chunk_size
from pipeline.data.streaming.lanes import Order
from pipeline.data.streaming.slots import Extra, Samples, copy_numbers, fields_of
from pipeline.data.streaming.workers import Chunk, Chunks, InlineChunks, WorkerChunks
from pipeline.errors import UserError
from pipeline.randomness import derive_seed

_Collected = tuple[Tensor, Tensor, dict[str, Tensor]]


@dataclass(frozen=True)
class _View:
    """The data at one resolution. Images are decoded from `index` and reduced by `factor` to those of
    `spec`."""

    index: ShardIndex
    factor: int
    spec: ImageSpec


class ImageStream:
    """This rank's part of every global batch from `images_seen` on.

    Rank r of W gets images r, r + W, r + 2W, ... of each global batch, so a run continues with the
    same global batches on any number of ranks and workers. Workers start at the first draw, and again
    where the resolution changes.
    labels: give class numbers; the index must have classes then. fields: names of those that are given too.
    """

    def __init__(
        self,
        index: ShardIndex,
        config: DataConfig,
        *,
        seed: int,
        process: Process,
        images_seen: int,
        labels: bool,
        fields: Collection[str] = (),
    ) -> None:
        if labels and not index.classes:
            raise UserError(f"{index.root}: data.labels: true, but the shards have no labels; allowed: false")
        self._index, self._process, self._labels = index, process, labels
        self._fields = fields_of(index, fields)
        self._config, self._seed, self._begin = config, seed, images_seen
        self._others: ImageStream | None = None
        counts = [shard.count for shard in index.shards]
        self._order = Order(counts, seed=seed, lanes=config.lanes)
        self._next = images_seen + process.rank  # position of this rank's next image
        self._view = _View(index, 1, index.spec)
        self._stride = Stride(self._next, process.world_size, chunk_size(index, self._fields))
        self._chunks: Chunks | None = None
        self._chunk: Chunk | None = None
        self._used = 0  # images of the current chunk
        self._damaged = self._retries = 0
        self._told = False  # that reducing images here is slow
        self._warned: set[int] = set()
        on_gpu = process.device.type == "cuda"
        self._side = torch.cuda.Stream(process.device) if on_gpu else None  # type: ignore[no-untyped-call]

    @property
    def damaged(self) -> int:
        """How many images of this rank were damaged and replaced so far (data.on_damage=skip), in all chunks
        that were begun: some of them may not have been drawn yet."""
        return self._damaged + (0 if self._others is None else self._others.damaged)

    @property
    def retries(self) -> int:
        """How many requests of this rank's loaders to a store had to be made again so far."""
        return self._retries + (0 if self._others is None else self._others.retries)

    @property
    def others(self) -> ImageStream:
        """Another order of the same images, from the position on where this one began; it has workers of its
        own, and ends with this one."""
        if self._others is None:
            seed = derive_seed(self._seed, "others")
            self._others = ImageStream(
                self._index,
                self._config,
                seed=seed,
                process=self._process,
                images_seen=self._begin,
                labels=self._labels,
                fields=[field.name for field in self._fields],
            )
        return self._others

    def draw(self, batch_size: int, times: int = 1, *, resolution: int | None = None) -> list[Batch]:
        """This rank's images of the next `times` global batches of `batch_size` images each.

        resolution: their height in pixels, the data's own (None) or that of a level below; from the
        data's pyramid or, slower, reduced here to the same pixels. The order does not depend on it.
        Images [batch_size / ranks, C, H, W] float32 in [-1, 1]; labels [batch_size / ranks] or None; fields
        as `contracts.Field` says. Raises UserError for damage (shard and key named), for a resolution that
        the data cannot be halved to, for one below their own with fields, and if the ranks do not divide the
        batch.
        """
        ranks = self._process.world_size
        if batch_size < 1 or batch_size % ranks:
            raise UserError(
                f"batch.size: {batch_size} images cannot be shared equally by {ranks} processes; "
                f"a multiple of {ranks} is allowed"
            )
        self._see(self._index.height if resolution is None else resolution)
        return [self._batch(batch_size // ranks) for _ in range(times)]

    def close(self) -> None:
        """Stops the workers."""
        self._drop()
        if self._others is not None:
            self._others.close()

    def _see(self, resolution: int) -> None:
        """From the next image on, everything has this height. What was decoded ahead is dropped."""
        if resolution == self._view.spec.height:
            return
        view = self._at(resolution)
        self._drop()
        self._view, self._used = view, 0
        self._warned.clear()
        self._stride = Stride(self._next, self._process.world_size, chunk_size(view.index, self._fields))

    def _at(self, resolution: int) -> _View:
        index = self._index
        sizes = [(index.height, index.width), *level_sizes(index.height, index.width)]
        heights = [height for height, _ in sizes]
        if resolution not in heights:
            raise UserError(
                f"{index.root}: its images of {index.height} pixels a side cannot be had at {resolution}; "
                f"allowed resolutions: {', '.join(map(str, heights))}"
            )
        if self._fields and resolution != index.height:
            names = ", ".join(field.name for field in self._fields)
            raise UserError(
                f"{index.root}: its fields ({names}) cannot be had at {resolution} pixels; "
                f"allowed: {index.height}"
            )
        height, width = sizes[heights.index(resolution)]
        spec = replace(index.spec, height=height, width=width)
        for level in index.levels:
            if level.height == resolution:
                # One process of a machine looks at the shards for all, as at those of the data set itself.
                damaged = self._config.on_damage if self._process.local_rank == 0 else "skip"
                return _View(open_level(index, level, damaged=damaged), 1, spec)
        if resolution != index.height and self._process.is_first and not self._told:
            self._told = True
            warnings.warn(
                f"{index.root}: has no pyramid, so whole images are decoded for each of {resolution} pixels: "
                f"slow; `hrgan prepare {index.root} {index.root} --pyramid` adds it, for the same pixels",
                stacklevel=4,
            )
        return _View(index, index.height // height, spec)

    def _drop(self) -> None:
        self._chunk = None
        if self._chunks is not None:
            self._chunks.close()
            self._chunks = None

    def __enter__(self) -> ImageStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _batch(self, count: int) -> Batch:
        if self._side is None:
            images, labels, extra = self._collect_floats(count)
        else:
            images, labels, extra = self._collect_on_device(count, self._side)
        return Batch(images, labels if self._labels else None, extra)

    def _collect_floats(self, count: int) -> _Collected:
        spec = self._view.spec
        images = torch.empty((count, spec.channels, spec.height, spec.width))
        labels = torch.empty(count, dtype=torch.int64)
        flips = torch.empty(count, dtype=torch.bool)
        extra = Extra(self._fields, count)
        for at, part, mirrored in self._parts(count):
            # Image by image: the pass that scales it then finds it in the cache.
            for i, flip in enumerate(mirrored):
                pixels = part.images[i].flip(1) if flip else part.images[i]
                images[at + i].copy_(pixels.permute(2, 0, 1)).mul_(2 / 255).sub_(1)
            labels[at : at + len(part)] = part.labels
            flips[at : at + len(part)] = torch.tensor(mirrored)
            extra.take(part, at)
        return images, labels, extra.seen(flips)

    def _collect_on_device(self, count: int, side: torch.cuda.Stream) -> _Collected:
        spec = self._view.spec
        # From torch's cache of pinned memory, which gives a block out again only once it was read.
        pixels = torch.empty(
            (count, spec.height, spec.width, spec.channels), dtype=torch.uint8, pin_memory=True
        )
        labels = torch.empty(count, dtype=torch.int64, pin_memory=True)
        flips = torch.empty((count, 1, 1, 1), dtype=torch.bool, pin_memory=True)
        extra = Extra(self._fields, count, pin_memory=True)
        for at, part, mirrored in self._parts(count):
            copy_numbers(pixels[at : at + len(part)], part.images)
            extra.take(part, at)
            labels[at : at + len(part)] = part.labels
            flips[at : at + len(part), 0, 0, 0] = torch.tensor(mirrored)
        device = self._process.device
        with torch.cuda.stream(side):
            images = pixels.to(device, non_blocking=True).permute(0, 3, 1, 2)
            flipped = flips.to(device, non_blocking=True)
            images = torch.where(flipped, images.flip(3), images)
            floats = images.to(torch.float32, memory_format=torch.contiguous_format).mul_(2 / 255).sub_(1)
            classes = labels.to(device, non_blocking=True)
            seen = extra.seen(flipped.flatten())
        consumer = torch.cuda.current_stream(device)
        consumer.wait_stream(side)
        for tensor in (floats, classes, *seen.values()):
            tensor.record_stream(consumer)
        return floats, classes, seen

    def _parts(self, count: int) -> Iterator[tuple[int, Samples, list[bool]]]:
        """The next `count` samples in pieces: (place in the batch, as stored, which to flip)."""
        at = 0
        while at < count:
            chunk = self._current()
            piece = slice(self._used, min(self._used + count - at, self._stride.size))
            part = chunk.samples[piece]
            positions = self._stride.positions(chunk.number)[piece]
            yield at, part, [self._mirrored(position) for position in positions]
            at += len(part)
            self._next = positions.stop
            self._used = piece.stop
            if self._used == self._stride.size:
                self._chunk, self._used = None, 0
                chunk.release()

    def _mirrored(self, position: int) -> bool:
        return self._config.mirror and self._order.mirrored(position)

    def _current(self) -> Chunk:
        if self._chunks is None:
            self._chunks = self._start()
        if self._chunk is None:
            self._chunk = self._chunks.next()
            self._take_note(self._chunk.notes)
        return self._chunk

    def _take_note(self, notes: Notes) -> None:
        self._damaged += notes.damaged
        self._retries += notes.retries + AGAIN.take()  # this process reads too: indices, pictures of reals
        for shard, message in notes.shards.items():
            if shard not in self._warned:
                self._warned.add(shard)
                warnings.warn(
                    f"{message}; skipped, as is all damage in this shard (data.on_damage=skip)", stacklevel=2
                )

    def _start(self) -> Chunks:
        spec, config = self._view.spec, self._config
        if config.workers == 0:
            return InlineChunks(self._decoder(), self._stride, spec, self._fields)
        return WorkerChunks(self._decoder, self._stride, spec, config.workers, config.prefetch, self._fields)

    def _decoder(self) -> Decoder:
        view, skip = self._view, self._config.on_damage == "skip"
        decoder = Decoder(view.index, self._order, skip=skip, factor=view.factor, fields=self._fields)
        return decoder.brought_along(self._stride)
