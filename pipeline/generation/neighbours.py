"""The nearest training images of each generated image, as a list and as a sheet that makes copies visible."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.reader import read_keys
from pipeline.data.streaming.numbered import UnflippedReader
from pipeline.generation.card import reduced
from pipeline.generation.training_images import TrainingImages
from pipeline.images.pictures import compose_grid, write_picture
from pipeline.storage.atomic import publish_bytes

LIST, SHEET = "neighbours.json", "neighbours.jpg"
_SHOWN = 16


def write_neighbours(
    index: ShardIndex,
    rows: Iterable[Mapping[str, Any]],
    key: Callable[[int], str],
    training: TrainingImages,
) -> None:
    """Publishes a list of all images of `index`, those nearest to a training image first, and a sheet of the
    first ones. Each row of the sheet shows a generated image and its nearest training images.

    `rows` hold the `number` and the `nearest` of each image; `key` maps a number to the key of its sample.
    """
    near = sorted(((key(row["number"]), row["nearest"]) for row in rows), key=lambda one: one[1][0][1])
    names = read_keys(training.index)
    listed = [
        {"key": name, "nearest": [{"key": names[number], "distance": apart} for number, apart in nearest]}
        for name, nearest in near
    ]
    typical = float(training.balls.nearest.median())
    about = {
        "training_images": training.index.digest,
        "features": training.features.digest,
        "median_distance_between_training_images_and_their_nearest": typical,
        "images": listed,
    }
    write_picture(index.folder / SHEET, _sheet(index, training.index, near[:_SHOWN]))
    publish_bytes(index.folder / LIST, (json.dumps(about, indent=1) + "\n").encode())


def _sheet(index: ShardIndex, training: ShardIndex, near: list[tuple[str, Any]]) -> Any:
    numbers = {key: number for number, key in enumerate(read_keys(index))}
    pictures: list[Tensor] = []
    with UnflippedReader(index) as ours, UnflippedReader(training) as theirs:
        for key, nearest in near:
            pictures.append(reduced(ours.image(numbers[key])))
            pictures += [reduced(theirs.image(number)) for number, _ in nearest]
    return compose_grid(torch.stack(pictures), 1 + len(near[0][1]))
