"""Results as TensorBoard scalars at the images seen of their snapshots.

They go into RUN/tensorboard/evaluation, a folder of their own: TensorBoard follows one file a folder at
a time, so that a second writer beside training's would end the live curves of training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.util import tensor_util
from torch.utils.tensorboard import SummaryWriter

from pipeline.evaluation.results import Result

SUFFIX = ".metrics"
_INNER = ("precision", "recall", "density", "coverage", "spread", "low", "high", "floor", "reals")
Point = tuple[str, int, float]


def scalars(metrics: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, float]]:
    """(tag, value) of every figure: metrics/fid, metrics/swd, metrics/swd/32px, metrics/pr/recall, ..."""
    for name, figures in metrics.items():
        yield f"metrics/{name}", figures["value"]
        for inner in _INNER:
            value = figures.get(inner)
            if value is not None:
                yield f"metrics/{name}/{inner}", value["value"] if isinstance(value, Mapping) else value
        for side, distance in figures.get("levels", {}).items():
            yield f"metrics/{name}/{side}px", distance


def write_scalars(run: Path, results: Sequence[Result]) -> int:
    """Writes the figures that are not there yet, and returns how many they were."""
    folder = run / "tensorboard" / "evaluation"
    there = dict(_written(folder))
    new = [
        (tag, result.images_seen, value)
        for result in results
        for tag, value in scalars(result.metrics)
        if there.get((tag, result.images_seen)) != _as_stored(value)
    ]
    if new:
        _append(folder, new)
    return len(new)


def _append(folder: Path, points: Sequence[Point]) -> None:
    with SummaryWriter(str(folder), filename_suffix=SUFFIX) as writer:
        for tag, images_seen, value in points:
            writer.add_scalar(tag, value, images_seen)


def _written(folder: Path) -> Iterator[tuple[tuple[str, int], float]]:
    """((tag, images seen), value) of our own event files, oldest first."""
    for path in sorted(folder.glob(f"events.out.tfevents.*{SUFFIX}")):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                yield (value.tag, event.step), float(tensor_util.make_ndarray(value.tensor))


def _as_stored(value: float) -> float:
    # Event files hold float32.
    return float(np.float32(value))
