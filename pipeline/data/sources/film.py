"""One video: which of its frames are taken, and each of them as a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

from PIL import Image

from pipeline.data.sources.extra import needed
from pipeline.data.sources.source import reading_picture
from pipeline.images.normalised import MOST_PIXELS, MOST_SIDE, Unreadable

_FORMATS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "flv", "asf")
_WITHOUT_TIMES = ("mpeg", "mpegts", "ogg")
"""Times that are not in the file are guessed from where reading begins."""
_OPTIONS = {
    # Others are playlists and such, which open what a stranger names, on this machine or in the net.
    "format_whitelist": ",".join((*_FORMATS, *_WITHOUT_TIMES)),
    "protocol_whitelist": "file",
    "fflags": "+genpts",
}
_STEPS_BACK = (0, 2, 10)  # seconds
_UNSPECIFIED, _HIGH_RANGES = 2, (16, 18)  # ITU-T H.273: no matrix is stated; PQ and HLG
_HD_LINES = 720


class Film:
    """A video file, opened where it is read. Unreadable, with the reason, if no frame can be told.

    every: seconds between the frames that are taken, by the times at which they are shown; 0: all. numbers:
    of the frames taken, among all. sizes: bytes of each in the file. size: (width, height) when upright.
    fault: why there may be more frames than those; "" if there are not.
    """

    def __init__(self, path: Path, every: float) -> None:
        self._path, self.fault = path, ""
        with self._opened() as (container, stream):
            self._unit: Fraction = stream.time_base
            bytes_at = self._listed(container, stream)
            self.size = (stream.codec_context.width, stream.codec_context.height)
            self.has_high_range = stream.codec_context.color_trc in _HIGH_RANGES
        times = sorted(bytes_at)
        self.numbers = list(_shown_every(times, Fraction(str(every)) / self._unit))
        self._times = [times[number] for number in self.numbers]
        self._start = times[0]
        self.sizes = [bytes_at[time] for time in self._times]
        with suppress(Unreadable):  # other frames may be whole
            self.size = self.frame(0).size  # upright

    def seconds(self, place: int) -> float:
        """When the frame `place` of those taken is shown, counted from the first frame."""
        return float((self._times[place] - self._start) * self._unit)

    def frame(self, place: int) -> Image.Image:
        """The frame `place` of those taken, upright, as RGB. Unreadable."""
        wanted = self._times[place]
        starts = [*(wanted - int(seconds / self._unit) for seconds in _STEPS_BACK), None]
        found = next(filter(None, (self._decoded(wanted, since) for since in starts)), None)
        if found is None:
            raise Unreadable(f"the frame at {self.seconds(place):.3f} s cannot be decoded")
        try:
            return _upright(found)
        except needed("av", str(self._path)).FFmpegError as error:
            raise Unreadable(f"its pixels cannot be converted ({_reason(error)})") from error

    def _decoded(self, wanted: int, since: int | None) -> Any:
        """The whole frame of time `wanted`, decoded from the key frame before `since` on, or from the start;
        None if it does not come. Some formats seek to a later frame than they should."""
        av = needed("av", str(self._path))
        with reading_picture(self._path), self._opened() as (container, stream):
            try:
                if since is not None:
                    container.seek(since, stream=stream, backward=True)
                for frame in container.decode(stream):
                    if frame.pts is not None and frame.pts >= wanted:
                        return frame if frame.pts == wanted and not frame.is_corrupt else None
            except av.FFmpegError:
                return None
        return None

    def _listed(self, container: Any, stream: Any) -> dict[int, int]:
        """Bytes of each frame by its time, from the packets alone; notes a fault where they end too early."""
        av = needed("av", str(self._path))
        bytes_at: dict[int, int] = {}
        packets = 0
        try:
            for packet in container.demux(stream):
                packets += packet.size > 0
                if packet.pts is not None and packet.size and not packet.is_discard:
                    bytes_at[packet.pts] = packet.size
        except av.FFmpegError as error:
            self.fault = f"is damaged ({_reason(error)}); what comes before is taken"
        if not bytes_at:
            raise Unreadable(self.fault.partition(";")[0] or "has no frames")
        if not self.fault and packets < stream.frames:
            self.fault = f"ends after {packets} of {stream.frames} frames; what comes before is taken"
        self.fault = self.fault or _cut(container, stream, max(bytes_at))
        return bytes_at

    @contextmanager
    def _opened(self) -> Iterator[tuple[Any, Any]]:
        """(container, its stream of video)"""
        av = needed("av", str(self._path))
        try:
            # With the protocol before it, a name cannot be taken for another one.
            container = av.open(f"file:{self._path.resolve()}", options=_OPTIONS)
        except av.FFmpegError as error:
            raise Unreadable(f"is no video that can be read ({_reason(error)})") from error
        with container:
            if container.format.name in _WITHOUT_TIMES:
                raise Unreadable(
                    f"is of the format {container.format.name}, in which not every frame has a time; copy it "
                    "first (ffmpeg -i VIDEO -c copy OTHER.mkv)"
                )
            covers = av.stream.Disposition.attached_pic
            streams = [stream for stream in container.streams.video if not stream.disposition & covers]
            if not streams:
                raise Unreadable("has no stream of video")
            _refuse_large(streams[0].codec_context.width, streams[0].codec_context.height)
            # The processes that read sources are as many as there are cores.
            streams[0].thread_type = "NONE"
            yield container, streams[0]


def _shown_every(times: Sequence[int], step: Fraction) -> Iterator[int]:
    """The numbers of the frames that are shown at the moments 0, step, 2 step, ... after the first; of all if
    step is 0. times: when each begins, in order."""
    following = Fraction(0)
    for number, time in enumerate(times):
        ends = (times[number + 1] if number + 1 < len(times) else time + 1) - times[0]
        if following < ends:
            yield number
            if step:
                following = -(-ends // step) * step  # the first moment at which it is no longer shown


def _cut(container: Any, stream: Any, last: int) -> str:
    """That a video ends before its header says, by more than a second; "" if it does not."""
    start = stream.start_time or 0
    seconds = float((last - start) * stream.time_base)
    stated = float(stream.duration * stream.time_base) if stream.duration else (container.duration or 0) / 1e6
    if stated - seconds <= 1:
        return ""
    return f"ends after {seconds:.1f} of {stated:.1f} s; what comes before is taken"


def _refuse_large(width: int, height: int) -> None:
    if max(width, height) > MOST_SIDE or width * height > MOST_PIXELS:
        raise Unreadable(f"{width}x{height} pixels; at most {MOST_SIDE} a side and {MOST_PIXELS} are allowed")


def _upright(frame: Any) -> Image.Image:
    reformatter = needed("av.video.reformatter", "a video")
    _refuse_large(frame.width, frame.height)
    ways = reformatter.Interpolation
    # The same pixels on every machine, at the price of some speed.
    exact = ways.BICUBIC | ways.FULL_CHR_H_INT | ways.ACCURATE_RND | ways.BITEXACT
    matrix = None
    if frame.colorspace == _UNSPECIFIED:  # as players take it
        matrix = reformatter.Colorspace.ITU709 if frame.height >= _HD_LINES else reformatter.Colorspace.ITU601
    image: Image.Image = frame.to_image(interpolation=int(exact), src_colorspace=matrix, threads=1)
    return image.rotate(frame.rotation, expand=True) if frame.rotation else image


def _reason(error: Any) -> str:
    return f"{error.strerror or type(error).__name__:.160}"
