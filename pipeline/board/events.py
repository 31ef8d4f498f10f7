"""Event files for TensorBoard: scalars, images and texts, the layout of its custom tab, and a run's settings
for the comparison of runs.

A run has two folders of events: RUN/tensorboard, to which training appends, and RUN/tensorboard/evaluation.
In TensorBoard's loader, an event replaces all those at its step and later. Figures of old snapshots may be
measured late and have to be sorted in, so the second folder is written anew each time.
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
"""The folder of evaluation's events in a run; TRAINING is that of training's."""

NAME = "events.out.tfevents."
_MOST_WAITING = 64 << 20  # bytes

Layout = Mapping[str, Mapping[str, Sequence[Any]]]
"""Category -> chart -> ["Multiline", [regular expressions of tags]] or ["Margin", [tag, lower, upper]]."""


def publish_events(folder: Path, events: Sequence[Event]) -> None:
    """Replaces the content of a folder by one event file with exactly `events`, in the order of their
    steps."""
    old = sorted(folder.glob(f"{NAME}*"))
    parts = [*_heads(0), *sorted(events, key=lambda event: event.step)]
    # TensorBoard reads every file with "tfevents" in its name, so a file gets that name only when whole.
    publish_bytes(_after(old, folder, "whole"), b"".join(map(_record, parts)), aside_as="next")
    for path in old:
        path.unlink(missing_ok=True)


def _after(old: Sequence[Path], folder: Path, kind: str) -> Path:
    """A name that sorts after those of `old`, because readers go through the files by name."""
    seconds = [path.name.split(".")[3] for path in old]
    number = max([int(time.time()), *(int(text) + 1 for text in seconds if text.isdigit())])
    return folder / f"{NAME}{number:010d}.{kind}"


def _heads(step: int) -> list[Event]:
    """The first events of a file, which make a reader drop what earlier files have at `step` and later."""
    start = SessionLog(status=SessionLog.START)
    return [Event(file_version="brain.Event:2", step=step), Event(session_log=start, step=step)]


def _record(event: Event) -> bytes:
    buffer = io.BytesIO()
    RecordWriter(buffer).write(event.SerializeToString())
    return buffer.getvalue()


class Curves:
    """Appends events to a new file in `folder`, which replaces what earlier files have at `step` and later.

    If the disk refuses to write, training is not affected: `tell` gets one line, and the newest 64 MiB of
    unwritten events are kept in memory until the disk accepts them.
    """

    def __init__(self, folder: Path, step: int, tell: Callable[[str], None]) -> None:
        self._folder, self._tell = folder, tell
        self._file: BinaryIO | None = None
        self._size = 0  # bytes of the file that are known to be complete
        self._heads = b"".join(map(_record, _heads(step)))
        self._waiting: deque[bytes] = deque()
        self._refused = False

    def add(self, event: Event) -> None:
        """Adds an event, to be written by the next `flush`."""
        self._waiting.append(_record(event))

    def flush(self) -> None:
        """Writes the waiting events, if the disk accepts them."""
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
        """Makes the written events durable. Can be called from any thread."""
        file = self._file
        if file is not None:
            try:
                os.fsync(file.fileno())
                fsync_folder(self._folder)
            except OSError as error:
                self._refuse(error)

    def close(self) -> None:
        """Writes the events that are still waiting, and closes the file."""
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
                "goes on, and they will be written when possible"
            )

    def _write(self) -> None:
        data = b"".join(self._waiting)
        if not data and self._file is not None:
            return
        if self._file is None:
            make_folder(self._folder)
            old = sorted(self._folder.glob(f"{NAME}*"))
            path = _after(old, self._folder, f"{socket.gethostname()}.{os.getpid()}")
            self._file = path.open("xb", buffering=0)
        data = (b"" if self._size else self._heads) + data
        if self._refused:
            os.ftruncate(self._file.fileno(), self._size)  # drop a partial write
        view = memoryview(data)
        while view:
            done = os.pwrite(self._file.fileno(), view, self._size + len(data) - len(view))
            view = view[done:]
        self._size += len(data)
        self._waiting.clear()


def read_events(folder: Path) -> Iterator[Event]:
    """The events of `folder` that carry summaries, oldest first, with their values as TensorBoard converts
    them."""
    for path in sorted(folder.glob(f"{NAME}*")):
        yield from (event for event in EventFileLoader(str(path)).Load() if event.HasField("summary"))


def event_of(summary: Summary, step: int, wall_time: float | None = None) -> Event:
    """The event of a summary at a step, at the present time unless another is given."""
    return Event(summary=summary, step=step, wall_time=time.time() if wall_time is None else wall_time)


def scalar_summary(tag: str, value: float) -> Summary:
    """A point of the curve `tag`."""
    return Summary(value=[Summary.Value(tag=tag, simple_value=value)])


def picture_summary(tag: str, picture: np.ndarray) -> Summary:
    """An image [H, W, C] uint8."""
    return summaries.image(tag, picture, dataformats="HWC")  # type: ignore[no-untyped-call]


def text_summary(tag: str, text: str) -> Summary:
    """A text in Markdown."""
    return summaries.text(tag, text)  # type: ignore[no-untyped-call]


def layout_summary(layout: Layout) -> Summary:
    """The categories and charts of the custom tab. TensorBoard merges the layouts of several folders if the
    first of them has every category."""
    return summaries.custom_scalars(layout)  # type: ignore[no-untyped-call]


def settings_summary(settings: Mapping[str, Any]) -> Summary:
    """A run's settings, for the table in which TensorBoard compares runs. The table's columns are left to
    TensorBoard: all settings of all runs, those that differ first, and the scalars of the same folder."""
    info = plugin_data_pb2.SessionStartInfo(start_time_secs=time.time())
    for name, value in settings.items():
        _set(info.hparams[name], value)
    data = plugin_data_pb2.HParamsPluginData(session_start_info=info, version=hparams.PLUGIN_DATA_VERSION)
    about = hparams.create_summary_metadata(data)
    tag = hparams.SESSION_START_INFO_TAG
    return Summary(value=[Summary.Value(tag=tag, metadata=about, tensor=hparams.NULL_TENSOR)])


def _set(field: Any, value: Any) -> None:
    if isinstance(value, bool):  # before int, because a bool is also an int
        field.bool_value = value
    elif isinstance(value, int | float):
        field.number_value = value
    else:
        field.string_value = value if isinstance(value, str) else json.dumps(value)


def begin_evaluation(run: Path, settings: Mapping[str, Any]) -> None:
    """Makes the run appear in TensorBoard's table of runs before anything is measured. Does nothing if called
    again."""
    folder = run / EVALUATION
    if not any(folder.glob(f"{NAME}*")):
        publish_events(folder, [event_of(settings_summary(settings), 0)])
