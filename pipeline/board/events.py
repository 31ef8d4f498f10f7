"""What TensorBoard is shown beside curves: a folder whose one event file is published whole, the layout of
its custom tab, a run's settings for comparing runs, and points with pictures for its projector.

A run has two folders of events: RUN/tensorboard, to which training appends, and RUN/tensorboard/evaluation.
TensorBoard's loader lets a point replace all that come at its step or after, so figures of old snapshots that
are measured later must be sorted in: the second folder is therefore written anew each time.
"""

from __future__ import annotations

import io
import json
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import metadata as hparams
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard import summary as summaries

from pipeline.storage.atomic import fsync_folder, make_folder, publish_bytes
from pipeline.storage.faults import reason_of

TRAINING = "tensorboard"
EVALUATION = "tensorboard/evaluation"
"""Folders of a run."""

_NAME = "events.out.tfevents."
_MOST_WAITING = 64 << 20  # bytes

Layout = Mapping[str, Mapping[str, Sequence[Any]]]
"""Category -> chart -> ["Multiline", [regular expressions of tags]] or ["Margin", [tag, lower, upper]]."""


def publish_events(folder: Path, events: Sequence[Event]) -> None:
    """Publishes a folder whose one event file has exactly `events`, in the order of their steps."""
    old = sorted(folder.glob(f"{_NAME}*"))
    parts = [*_heads(0), *sorted(events, key=lambda event: event.step)]
    # TensorBoard takes every file with "tfevents" in its name: none has it before it is whole.
    publish_bytes(_after(old, folder, "whole"), b"".join(map(_record, parts)), aside_as="next")
    for path in old:
        path.unlink(missing_ok=True)


def _after(old: Sequence[Path], folder: Path, kind: str) -> Path:
    """A name that sorts behind those of `old`, since readers go from file to file by name."""
    seconds = [path.name.split(".")[3] for path in old]
    number = max([int(time.time()), *(int(text) + 1 for text in seconds if text.isdigit())])
    return folder / f"{_NAME}{number:010d}.{kind}"


def _heads(step: int) -> list[Event]:
    """The first events of a file: a reader then drops what earlier files have at `step` and after."""
    start = SessionLog(status=SessionLog.START)
    return [Event(file_version="brain.Event:2", step=step), Event(session_log=start, step=step)]


def _record(event: Event) -> bytes:
    buffer = io.BytesIO()
    RecordWriter(buffer).write(event.SerializeToString())
    return buffer.getvalue()


class Curves:
    """Appends events to a new file in `folder`, which hides what earlier ones have at `step` and after.

    A disk that refuses them costs nothing else: `tell` gets one line, and what is not written yet is kept in
    memory, the newest 64 MiB of it, until the disk takes it.
    """

    def __init__(self, folder: Path, step: int, tell: Callable[[str], None]) -> None:
        self._folder, self._tell = folder, tell
        self._file: BinaryIO | None = None
        self._size = 0  # of what is whole in the file
        self._heads = b"".join(map(_record, _heads(step)))
        self._waiting: deque[bytes] = deque()
        self._refused = False

    def add(self, event: Event) -> None:
        """Shows it from the next `flush` on."""
        self._waiting.append(_record(event))

    def flush(self) -> None:
        """Writes what is waiting, if the disk takes it."""
        try:
            self._write()
        except OSError as error:
            self._refuse(error)
            while sum(map(len, self._waiting)) > _MOST_WAITING:
                self._waiting.popleft()
            return
        if self._refused:
            self._refused = False
            self._tell(f"{self._folder}: curves are written again")

    def sync(self) -> None:
        """Makes durable what was written; from any thread."""
        file = self._file
        if file is not None:
            try:
                os.fsync(file.fileno())
                fsync_folder(self._folder)
            except OSError as error:
                self._refuse(error)

    def close(self) -> None:
        """Writes what is still waiting and closes the file."""
        self.flush()
        if self._waiting:
            self.flush()
        if self._waiting:
            lost = len(self._waiting)
            self._tell(f"hrgan: warning: {self._folder}: the last {lost} points could not be written")
        self.sync()
        if self._file is not None:
            with suppress(OSError):
                self._file.close()

    def _refuse(self, error: OSError) -> None:
        if not self._refused:
            self._refused = True
            self._tell(
                f"hrgan: warning: {self._folder}: curves cannot be written: {reason_of(error)}; training "
                "goes on, and they follow when they can"
            )

    def _write(self) -> None:
        data = b"".join(self._waiting)
        if not data and self._file is not None:
            return
        if self._file is None:
            make_folder(self._folder)
            old = sorted(self._folder.glob(f"{_NAME}*"))
            path = _after(old, self._folder, f"{socket.gethostname()}.{os.getpid()}")
            self._file = path.open("xb", buffering=0)
        data = (b"" if self._size else self._heads) + data
        if self._refused:
            os.ftruncate(self._file.fileno(), self._size)  # a part may have been written
        view = memoryview(data)
        while view:
            done = os.pwrite(self._file.fileno(), view, self._size + len(data) - len(view))
            view = view[done:]
        self._size += len(data)
        self._waiting.clear()


def read_events(folder: Path) -> Iterator[Event]:
    """The events of `folder` that carry summaries, oldest first; values as TensorBoard converts them."""
    for path in sorted(folder.glob(f"{_NAME}*")):
        yield from (event for event in EventFileLoader(str(path)).Load() if event.HasField("summary"))


def event_of(summary: Summary, step: int, wall_time: float | None = None) -> Event:
    """The event of a summary at a step. Its time is now, unless another is given."""
    return Event(summary=summary, step=step, wall_time=time.time() if wall_time is None else wall_time)


def scalar_summary(tag: str, value: float) -> Summary:
    """A point of a curve."""
    return Summary(value=[Summary.Value(tag=tag, simple_value=value)])


def picture_summary(tag: str, picture: np.ndarray) -> Summary:
    """An image [H, W, C] uint8."""
    return summaries.image(tag, picture, dataformats="HWC")  # type: ignore[no-untyped-call]


def text_summary(tag: str, text: str) -> Summary:
    """A text in Markdown."""
    return summaries.text(tag, text)  # type: ignore[no-untyped-call]


def layout_summary(layout: Layout) -> Summary:
    """The custom tab's categories and charts. Layouts of several folders are joined by TensorBoard, if the
    first has every category."""
    return summaries.custom_scalars(layout)  # type: ignore[no-untyped-call]


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
    """Lets the run appear among others before anything has been measured; does nothing when called again."""
    folder = run / EVALUATION
    if not any(folder.glob(f"{_NAME}*")):
        publish_events(folder, [event_of(settings_summary(settings), 0)])
