"""Animations: GIF, APNG and WebP with Pillow, MP4 with ffmpeg if it is installed."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.errors import RunFailed, UserError
from pipeline.images.codec import Pixels
from pipeline.storage.atomic import publish_bytes, publish_file

KINDS: dict[str, dict[str, Any]] = {
    ".gif": {"format": "GIF"},
    ".apng": {"format": "PNG"},
    ".webp": {"format": "WEBP", "quality": 90},
    ".mp4": {},
}
MOST_BYTES = 4_000_000_000
"""The largest size of all frames together, which are held in memory."""


def is_animation(out: Path) -> bool:
    """Whether the file extension is that of an animation."""
    return out.suffix.lower() in KINDS


def check_animation(out: Path, frames: int, height: int, width: int) -> None:
    """Raises UserError, before any work is done, for an animation that could not be written."""
    if out.is_dir():
        raise UserError(f"{out}: is a folder; give the name of an animation, such as {out}.gif")
    if frames * height * width * 3 > MOST_BYTES:
        raise UserError(
            f"{out}: {frames} frames of {width}x{height} pixels are more than {MOST_BYTES >> 20} MiB; "
            "ask for fewer --steps"
        )
    if out.suffix.lower() == ".mp4":
        _ffmpeg(out)


def write_animation(out: Path, frames: Sequence[Pixels], per_second: float) -> None:
    """Publishes frames [H, W, C] uint8 as an endless animation at `out`, whose file extension determines the
    format."""
    kind = out.suffix.lower()
    if kind == ".mp4":
        _write_mp4(out, frames, per_second)
        return
    pictures = [Image.fromarray(f[..., 0] if f.shape[-1] == 1 else f) for f in frames]
    if kind == ".webp":
        pictures = [picture.convert("RGB") for picture in pictures]  # WebP has no grey
    buffer = io.BytesIO()
    duration = max(20, round(1000 / per_second))  # milliseconds; viewers slow down faster animations
    pictures[0].save(
        buffer, save_all=True, append_images=pictures[1:], duration=duration, loop=0, **KINDS[kind]
    )
    publish_bytes(out, buffer.getvalue())


def _ffmpeg(out: Path) -> str:
    program = shutil.which("ffmpeg")
    if program is None:
        raise UserError(
            f"{out}: an .mp4 needs ffmpeg on PATH; install it; allowed without it: .gif, .apng, .webp"
        )
    return program


def _write_mp4(out: Path, frames: Sequence[Pixels], per_second: float) -> None:
    height, width = frames[0].shape[:2]
    with publish_file(out) as aside:
        command = [_ffmpeg(out), "-loglevel", "error", "-y"]
        command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
        command += ["-r", f"{per_second:g}", "-i", "-", "-an", "-c:v", "libx264", "-crf", "16"]
        # Players expect colour at half resolution, which needs even sides.
        command += ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p"]
        command += ["-movflags", "+faststart", "-f", "mp4", str(aside.absolute())]
        data = b"".join(np.broadcast_to(frame, (height, width, 3)).tobytes() for frame in frames)
        done = subprocess.run(command, input=data, capture_output=True, check=False)
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise RunFailed(f"{out}: ffmpeg failed: {said[-1] if said else f'exit code {done.returncode}'}")
