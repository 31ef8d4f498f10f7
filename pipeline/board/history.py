"""The curves of a run that another goes on from, so that the two are drawn as one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.plugins.scalar import metadata as scalars
from tensorboard.util.tensor_util import make_ndarray

from pipeline.board.events import (
    EVALUATION,
    NAME,
    TRAINING,
    event_of,
    publish_events,
    scalar_summary,
    settings_summary,
)


def carry_curves(
    source: Path, run: Path, images_seen: int, settings: Mapping[str, Any], *, judged: bool
) -> None:
    """Copies the points of the run `source` up to `images_seen` to the run `run`, under the same names and at
    the same times. What an earlier try has copied is replaced.

    settings: of `run`, for TensorBoard's comparison of runs. judged: also the figures of evaluations, which
    are comparable if both runs have the same data.
    """
    publish_events(run / TRAINING, points_until(source / TRAINING, images_seen))
    figures = points_until(source / EVALUATION, images_seen) if judged else []
    publish_events(run / EVALUATION, [event_of(settings_summary(settings), 0), *figures])


def points_until(folder: Path, images_seen: int) -> list[Event]:
    """The points of all curves in `folder` at up to `images_seen`, as TensorBoard shows them: one a name and
    step, without what a restart has replaced."""
    points: dict[tuple[str, int], Event] = {}
    for path in sorted(folder.glob(f"{NAME}*")):
        for event in EventFileLoader(str(path)).Load():
            if event.session_log.status == SessionLog.START:
                points = {place: point for place, point in points.items() if place[1] < event.step}
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == scalars.PLUGIN_NAME:
                    summary = scalar_summary(value.tag, float(make_ndarray(value.tensor)))
                    points[value.tag, event.step] = event_of(summary, event.step, event.wall_time)
    return [point for (_, step), point in points.items() if step <= images_seen]
