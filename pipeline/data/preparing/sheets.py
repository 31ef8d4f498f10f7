"""Pictures of a data set for people: samples of each class, and pictures before and after."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from pipeline.data.preparing.making import Work
from pipeline.data.preparing.records import NAME
from pipeline.data.shards.decode import decode_sample
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.reader import ShardReader
from pipeline.data.shards.samples import keys, no_damage
from pipeline.images.normalised import Unreadable
from pipeline.images.pictures import compose_grid, write_picture

_SIDE = 96  # pixels of a cell
_COLUMNS = 12
_UNLABELLED, _OF_A_CLASS, _CLASSES = 96, 12, 100
_LOOKED_AT = 1_000_000  # places of the order, for samples of each class
_PAIRS = 8


def choose_places(work: Work, classes: int) -> dict[int, list[int]]:
    """The first places of the shuffled order, which are places drawn at random, for each of at most 100
    classes; without classes, for 0."""
    if work.labels is None:
        return {0: list(range(min(_UNLABELLED, len(work.order))))}
    labels = work.labels[work.order[:_LOOKED_AT]]
    return {
        label: np.flatnonzero(labels == label)[:_OF_A_CLASS].tolist()
        for label in range(min(classes, _CLASSES))
    }


def write_sheets(
    folder: Path, index: ShardIndex, block_size: int, places: Mapping[int, list[int]]
) -> list[int]:
    """Writes samples-CLASS.png for each class that has any of the `places`; those classes."""
    wanted = {place for some in places.values() for place in some}
    cells = {place: _cell(pixels) for place, pixels in _stored(index, block_size, wanted).items()}
    written = []
    for label, some in places.items():
        shown = [cells[place] for place in some if place in cells]
        if shown:
            grid = compose_grid(torch.stack(shown), min(_COLUMNS, len(shown)))
            write_picture(folder / f"samples-{label}.png", grid)
            written.append(label)
    return written


def write_pairs(folder: Path, index: ShardIndex, block_size: int, work: Work) -> bool:
    """Writes pairs.png: the first pictures of the order as they were read, and below each what became of it;
    false if none of them has become a sample."""
    stored = _stored(index, block_size, range(min(_PAIRS, len(work.order))))
    before, after = [], []
    for place, pixels in stored.items():
        try:
            picture = work.source.picture(int(work.order[place])).image
        except Unreadable:
            continue  # it was readable before
        before.append(_cell(np.asarray(picture.convert("RGB"))))
        after.append(_cell(pixels))
    if not before:
        return False
    write_picture(folder / "pairs.png", compose_grid(torch.stack([*before, *after]), len(before)))
    return True


def _stored(index: ShardIndex, block_size: int, places: Iterable[int]) -> dict[int, npt.NDArray[np.uint8]]:
    """The images [H, W, C] of those places that have become samples, by place."""
    shards = {shard.name: number for number, shard in enumerate(index.shards)}
    found: dict[int, npt.NDArray[np.uint8]] = {}
    with ShardReader(index) as reader, no_damage():
        for block, some in _by_block(places, block_size).items():
            number = shards.get(f"{NAME}-{block:05d}.tar")
            if number is None:
                continue
            members = _members(index, number)
            for place in some:
                if place in members:
                    sample = reader.read(number, members[place])
                    found[place] = decode_sample(index, number, sample).numpy()
    return found


def _members(index: ShardIndex, shard: int) -> dict[int, int]:
    names = keys(index.folder / index.shards[shard].name, index.fields)
    return {int(key): member for member, key in enumerate(names)}


def _by_block(places: Iterable[int], block_size: int) -> dict[int, Sequence[int]]:
    blocks: dict[int, list[int]] = {}
    for place in sorted(places):
        blocks.setdefault(place // block_size, []).append(place)
    return dict(blocks)


def _cell(pixels: npt.NDArray[np.uint8]) -> Tensor:
    """A picture, reduced to a square cell [3, S, S], with white beside what is not square."""
    picture = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).convert("RGB")
    picture.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    cell = Image.new("RGB", (_SIDE, _SIDE), "white")
    cell.paste(picture, ((_SIDE - picture.width) // 2, (_SIDE - picture.height) // 2))
    return torch.from_numpy(np.array(cell)).permute(2, 0, 1)
