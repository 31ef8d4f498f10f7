"""What a race has measured: points of an entrant with one seed, over images and over seconds of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from pipeline.data.shards.index import ShardIndex
from pipeline.evaluation.metrics.registry import about
from pipeline.evaluation.results import read_result, read_results, set_result_path
from pipeline.reading import read_lines
from pipeline.storage.log import LOG, log_entry
from pipeline.storage.positions import numbered_folders
from tools.learning_race.peers import SETS

Figures = Mapping[str, Mapping[str, Any]]
"""What was measured, by the metric's name; each with its `value`."""


@dataclass(frozen=True)
class Point:
    """images: real ones seen. seconds: of training up to there. figures: of the averaged generator."""

    images: int
    seconds: float
    figures: Figures


@dataclass(frozen=True)
class Curve:
    """One entrant's course with one seed, in order of images, from the untrained network on."""

    entrant: str
    seed: int
    points: Sequence[Point]

    def value(self, metric: str, axis: str, at: float) -> float | None:
        """The metric's value when `at` images or seconds were reached, interpolated linearly between two
        measurements; None before the first and after the last. axis: "images" or "seconds"."""
        known = [
            (getattr(point, axis), point.figures[metric]["value"])
            for point in self.points
            if metric in point.figures
        ]
        for (left, before), (right, after) in pairwise(known):
            if left <= at <= right:
                share = (at - left) / (right - left) if right > left else 1.0
                return float(before + share * (after - before))
        return None

    def end(self, axis: str) -> float:
        """How many images or seconds it has come to."""
        return float(getattr(self.points[-1], axis)) if self.points else 0.0


def training_seconds(run: Path) -> dict[int, float]:
    """Seconds of training by images seen, from the log: with waits for data, without starts and saving."""
    total, before, known = 0.0, 0, {0: 0.0}
    if not (run / LOG).exists():
        return known
    for line in read_lines(run / LOG):
        entry = log_entry(line)
        if entry is None:
            continue
        images = entry["images_seen"]
        spent = entry.get("speed/seconds_per_kimg", 0.0) * (images - before) / 1000
        total += max(spent - entry.get("speed/pause_seconds", 0.0), 0.0)
        before, known[images] = images, total
    return known


def curve_of(entrant: str, seed: int, run: Path, data: ShardIndex) -> Curve:
    """The course of a run of ours, or of a peer, as far as it is measured."""
    seconds = training_seconds(run)
    points = [
        Point(images, seconds[images], figures)
        for images, figures in _measured(run, data)
        if images in seconds
    ]
    return Curve(entrant, seed, points)


def _measured(run: Path, data: ShardIndex) -> Sequence[tuple[int, Figures]]:
    if not (run / SETS).is_dir():
        return [(result.images_seen, result.metrics) for result in read_results(run)]
    measured = []
    for folder in numbered_folders(run / SETS):
        result = read_result(set_result_path(ShardIndex.read(folder), data))
        if result is not None:
            measured.append((int(folder.name), result.metrics))
    return measured


def badness(metric: str, figures: Mapping[str, Any], value: float) -> float:
    """What is lower for the better of two: the value itself, its negative, or its distance from that of the
    reals, as the metric has it."""
    better = about(metric).better
    if better == "best near the reals":
        return abs(value - float(figures["reals"]["value"]))
    return value if better == "lower is better" else -value
