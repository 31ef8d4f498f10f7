"""Images kept as data sets for `hrgan evaluate` to measure: a peer's samples, and two halves of the reals."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.sink import ShardSink
from pipeline.data.streaming.numbered import UnflippedReader
from pipeline.images.codec import encode

BLOCK = 64
Labelled = tuple[Tensor, list[int] | None]
"""Images uint8 [N, C, H, W], and their classes if they have any."""


def write_set(folder: Path, like: ShardIndex, made_by: str, blocks: Iterable[Labelled]) -> ShardIndex:
    """Writes images of the format and with the classes of `like`, and gives the index. What is there of them
    already is kept."""
    origin = {"made_by": made_by, "like": like.digest}
    with ShardSink(
        folder,
        name="images",
        height=like.height,
        width=like.width,
        channels=like.channels,
        classes=like.classes,
        origin=origin,
    ) as sink:
        place, there = 0, sink.finished
        for images, labels in () if sink.complete else blocks:
            for number, image in enumerate(images):
                label = labels[number] if labels is not None and like.classes else None
                if place >= there:
                    sink.write(f"{place:08d}", encode(image.permute(1, 2, 0).numpy(), "png"), "png", label)
                place += 1
    return ShardIndex.read(folder)


def write_halves(data: ShardIndex, folder: Path, count: int) -> tuple[Path, Path]:
    """Two data sets of reals that share none, of `count` images each or half of all, spread over the whole
    data set. What is there already is kept."""
    each = min(count, data.count // 2)
    halves = folder / f"first-{each}", folder / f"second-{each}"
    for number, half in enumerate(halves):
        places = [(2 * k + number) * data.count // (2 * each) for k in range(each)]
        write_set(half, data, f"half {number + 1} of 2", _read(data, places))
    return halves


def _read(data: ShardIndex, places: list[int]) -> Iterable[Labelled]:
    with UnflippedReader(data) as reader:
        for at in range(0, len(places), BLOCK):
            images, labels, _ = reader.read(places[at : at + BLOCK])
            yield images, labels
