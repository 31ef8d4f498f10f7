"""Results as TensorBoard scalars in RUN/tensorboard/evaluation; the step is the snapshot's images seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.plugins.custom_scalar import metadata as custom_tab
from tensorboard.plugins.scalar import metadata as scalar_tab
from tensorboard.util import tensor_util

from pipeline.board.events import (
    EVALUATION,
    Layout,
    event_of,
    layout_summary,
    publish_events,
    read_events,
    scalar_summary,
    settings_summary,
)
from pipeline.config.load import identity, read_dump
from pipeline.evaluation.metrics.registry import PARTS, about
from pipeline.evaluation.results import read_results
from pipeline.storage.claims import Claims
from pipeline.storage.runs import CONFIG

QUALITY = "quality"
_INNER = (*PARTS, "spread", "low", "high")
_OF_REALS = ("floor", "reals")  # each a mapping with a value of its own
_RANGE = ("low", "high")
Point = tuple[str, int]


def scalars(metrics: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, float]]:
    """(tag, value) of every figure: metrics/fid, metrics/swd, metrics/swd/32px, metrics/pr/recall, ..."""
    for name, figures in metrics.items():
        yield f"metrics/{name}", figures["value"]
        for inner in _INNER:
            if figures.get(inner) is not None:
                yield f"metrics/{name}/{inner}", figures[inner]
        for inner in _OF_REALS:
            if isinstance(figures.get(inner), Mapping):
                yield f"metrics/{name}/{inner}", figures[inner]["value"]
        for side, distance in figures.get("levels", {}).items():
            yield f"metrics/{name}/{side}px", distance


def write_scalars(run: Path) -> None:
    """Writes the figures of the run's results as scalars. Older scalars at the same images seen are replaced.

    Several evaluators of one run take turns.
    """
    folder = run / EVALUATION
    with Claims(folder).wait_for("scalars"):
        results = read_results(run)
        steps = {result.images_seen for result in results}
        figures = [(result.images_seen, *figure) for result in results for figure in scalars(result.metrics)]
        new = {(tag, step): _as_stored(value) for step, tag, value in figures}
        others, points = _read(folder)
        known = {point: _value(event) for point, event in points.items()}
        times = {
            point: event.wall_time
            for point, event in points.items()
            if new.get(point) in (None, known[point])
        }
        wanted = {**{point: value for point, value in known.items() if point[1] not in steps}, **new}
        if wanted != known:
            layout = event_of(layout_summary(quality_layout([tag for tag, _ in wanted])), 0)
            shown = [
                event_of(scalar_summary(tag, value), step, times.get((tag, step)))
                for (tag, step), value in wanted.items()
            ]
            publish_events(folder, [*(others or _settings(run)), layout, *shown])


def _settings(run: Path) -> list[Event]:
    """The settings of a run that was trained without TensorBoard."""
    if not (run / CONFIG).is_file():
        return []
    return [event_of(settings_summary(identity(read_dump(run / CONFIG))), 0)]


def quality_layout(tags: Sequence[str]) -> Layout:
    """A chart for each metric, with the figures that belong to it and a title that says which values are
    better; and a chart of its range over seeds, if it has one."""
    known = sorted(set(tags))
    charts: dict[str, list[Any]] = {}
    for tag in known:
        _, name, *inner = tag.split("/")
        if not inner or inner[-1] not in ("spread", *_RANGE):
            title = f"{name} ({about(name).better})"
            charts.setdefault(title, ["Multiline", []])[1].append(f"^{tag}$")
    for name in sorted({tag.split("/")[1] for tag in known}):
        ends = [f"metrics/{name}/{end}" for end in _RANGE]
        if set(ends) <= set(known):
            charts[f"{name} over seeds"] = ["Margin", [f"metrics/{name}", *ends]]
    return {QUALITY: charts}


def _read(folder: Path) -> tuple[list[Event], dict[Point, Event]]:
    """The events that no metric wrote, without the layout; and the scalars by tag and step."""
    others, points = {}, {}  # by tag: a killed process may have left two files with the same events
    for event in read_events(folder):
        (value,) = event.summary.value
        plugin = value.metadata.plugin_data.plugin_name
        if plugin == scalar_tab.PLUGIN_NAME:
            points[value.tag, event.step] = event
        elif plugin != custom_tab.PLUGIN_NAME:
            others[value.tag] = event
    return list(others.values()), points


def _value(event: Event) -> float:
    return float(tensor_util.make_ndarray(event.summary.value[0].tensor))


def _as_stored(value: float) -> float:
    # Event files hold float32.
    return float(np.float32(value))
