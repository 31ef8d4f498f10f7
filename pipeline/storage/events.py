"""What TensorBoard is shown beside curves: a folder whose one event file is published whole, the layout of
its custom tab, a run's settings for comparing runs, and points with pictures for its projector.

A run has two folders of events: RUN/tensorboard, to which training appends, and RUN/tensorboard/evaluation.
TensorBoard's loader lets a point replace all that come at its step or after, so figures of old snapshots that
are measured later must be sorted in: the second folder is therefore written anew each time.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import metadata as hparams
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard.summary import custom_scalars

from pipeline.storage.atomic import publish_bytes

TRAINING = "tensorboard"
EVALUATION = "tensorboard/evaluation"
"""Folders of a run."""

_NAME = "events.out.tfevents."

Layout = Mapping[str, Mapping[str, Sequence[Any]]]
"""Category -> chart -> ["Multiline", [regular expressions of tags]] or ["Margin", [tag, lower, upper]]."""


def publish_events(folder: Path, events: Sequence[Event]) -> None:
    """Makes `events` all that `folder` holds, in the order of their steps."""
    old = sorted(folder.glob(f"{_NAME}*"))
    # Readers go from file to file by name, so that the new name must be the last.
    seconds = [path.name.split(".")[3] for path in old]
    number = max([int(time.time()), *(int(text) + 1 for text in seconds if text.isdigit())])
    buffer = io.BytesIO()
    records = RecordWriter(buffer)
    start = SessionLog(status=SessionLog.START)  # a reader drops what it has of an earlier file
    heads = [Event(file_version="brain.Event:2"), Event(session_log=start, step=0)]
    for event in [*heads, *sorted(events, key=lambda event: event.step)]:
        records.write(event.SerializeToString())
    # TensorBoard takes every file with "tfevents" in its name: none has it before it is whole.
    publish_bytes(folder / f"{_NAME}{number:010d}.whole", buffer.getvalue(), aside_as="next")
    for path in old:
        path.unlink(missing_ok=True)


def read_events(folder: Path) -> Iterator[Event]:
    """The events of `folder` that carry summaries, oldest first; values as TensorBoard converts them."""
    for path in sorted(folder.glob(f"{_NAME}*")):
        yield from (event for event in EventFileLoader(str(path)).Load() if event.HasField("summary"))


def event_of(summary: Summary, step: int, wall_time: float | None = None) -> Event:
    """A summary at a step; now, unless a time is given."""
    return Event(summary=summary, step=step, wall_time=time.time() if wall_time is None else wall_time)


def scalar_summary(tag: str, value: float) -> Summary:
    """A point of a curve."""
    return Summary(value=[Summary.Value(tag=tag, simple_value=value)])


def layout_summary(layout: Layout) -> Summary:
    """The custom tab's categories and charts. Layouts of several folders are joined by TensorBoard, if the
    first has every category."""
    return custom_scalars(layout)  # type: ignore[no-untyped-call]


def settings_summary(settings: Mapping[str, Any]) -> Summary:
    """A run's settings for the table in which runs are compared. Which columns the table has is left to
    TensorBoard: all settings of all runs, those that differ first, and the scalars of the same folder."""
    info = plugin_data_pb2.SessionStartInfo(start_time_secs=time.time())
    for name, value in settings.items():
        _set(info.hparams[name], value)
    data = plugin_data_pb2.HParamsPluginData(session_start_info=info, version=hparams.PLUGIN_DATA_VERSION)
    about = hparams.create_summary_metadata(data)
    tag = hparams.SESSION_START_INFO_TAG
    return Summary(value=[Summary.Value(tag=tag, metadata=about, tensor=hparams.NULL_TENSOR)])


def _set(field: Any, value: Any) -> None:
    if isinstance(value, bool):  # before int, which it is too
        field.bool_value = value
    elif isinstance(value, int | float):
        field.number_value = value
    else:
        field.string_value = value if isinstance(value, str) else json.dumps(value)


def begin_evaluation(run: Path, settings: Mapping[str, Any]) -> None:
    """Shows the run among others before anything has been measured; later calls leave what is there."""
    folder = run / EVALUATION
    if not any(folder.glob(f"{_NAME}*")):
        publish_events(folder, [event_of(settings_summary(settings), 0)])
