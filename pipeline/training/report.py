"""Reports a run's progress, on rank 0: the progress bar, tick lines, log.jsonl and TensorBoard."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from pipeline.board.events import (
    EVALUATION,
    TRAINING,
    Curves,
    Layout,
    begin_evaluation,
    event_of,
    layout_summary,
    picture_summary,
    scalar_summary,
    text_summary,
)
from pipeline.contracts import Stage
from pipeline.errors import Damaged, RunFailed, UserError
from pipeline.reading import read_lines
from pipeline.storage.atomic import fsync_file, fsync_folder, publish_bytes
from pipeline.storage.faults import explained, reason_of, refusal
from pipeline.storage.log import LOG, log_entry
from pipeline.training.meters import peak_gib
from pipeline.words import counted

Figures = Mapping[str, float]
_WAIT_SHOWN = 0.05  # of a tick's time: a loader that keeps up takes less
_HEADLINES = ("loss/", "penalty/", "state/")
# Category -> charts, and what the names of their curves begin with; "" stands for one chart per curve.
_CHARTS: dict[str, dict[str, tuple[str, ...]]] = {
    "losses": {
        "losses": ("loss/",),
        "logits of the discriminator": ("logits/",),
        "mean sign of D(real)": ("signs/",),
        "classes recognised": ("classified/",),
    },
    "regularisers": {"": ("penalty/", "path_length")},
    "stage": {
        "learning rates": ("stage/rate/",),
        "weights": ("stage/weight/",),
        "fade": ("stage/fade",),
        "resolution": ("stage/resolution",),
        "batch size": ("stage/batch_size",),
        "decay of the averaged generator": ("stage/ema_beta",),
        "second decay": ("stage/beta2/",),
    },
    "ADA": {"probability of augmentation": ("state/ada_p",)},
    "APA": {"probability of pseudo reals": ("state/apa_p",)},
    "equilibrium": {
        "weight of fakes": ("state/balance",),
        "measure of convergence": ("state/convergence",),
    },
    "diffusion": {"steps of noise": ("state/diffusion_steps",)},
    "gradients": {"gradient norms": ("gradient_norm/",), "skipped updates": ("skipped_updates",)},
    "throughput": {
        "images a second": ("speed/images_per_second",),
        "share of the time that was waited for images": ("speed/data_wait_share",),
        "requests that stores had to be asked again": ("store/",),
        "seconds for 1,000 images": ("speed/seconds_per_kimg",),
        "peak memory, GiB": ("memory/",),
        "damaged images": ("data/",),
    },
    "quality": {},
}


class Report:
    """Reports the progress of a run.

    run: the run's folder. total: the length of the run in images. start: the images seen when this process
    began. What an earlier process wrote beyond that position is dropped from the log and hidden in
    TensorBoard, so that curves have neither gaps nor duplicate points. device: the device whose peak memory
    is reported. tensorboard: whether to write curves.
    """

    def __init__(self, run: Path, *, total: int, start: int, device: torch.device, tensorboard: bool) -> None:
        self._run = run
        self._log = run / LOG
        self._device = device
        self._total = total
        self._images, self._time = start, time.perf_counter()
        self._first_images, self._first_time = start, self._time
        has_ticks = drop_after(self._log, start) > 0
        self._is_laid_out = has_ticks and any((run / TRAINING).glob("events.*"))
        self._has_terminal = True
        self._settings: Mapping[str, Any] | None = None  # to be shown among those of other runs
        self._curves = None
        if tensorboard:
            first = start + 1 if start else 0  # a run that begins anew hides all that an earlier try wrote
            self._curves = Curves(run / TRAINING, first, self.say)
        self._bar = tqdm(
            total=total,
            initial=start,
            unit="img",
            unit_scale=True,
            dynamic_ncols=True,
            disable=not sys.stderr.isatty(),
            smoothing=0.05,
        )

    def __enter__(self) -> Report:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        if self._curves is not None:
            self._curves.close()

    def say(self, line: str) -> None:
        """Shows the user one line above the progress bar."""
        self._show(lambda: tqdm.write(line, file=sys.stderr))

    def advance(self, images_seen: int) -> None:
        """Moves the progress bar."""
        self._show(lambda: self._bar.update(images_seen - self._bar.n))

    def _show(self, act: Callable[[], object]) -> None:
        # A closed terminal must not cost the checkpoint that is written next; the log file has every line.
        if self._has_terminal:
            try:
                act()
            except OSError:
                self._has_terminal = False

    def describe(self, texts: Mapping[str, str], settings: Mapping[str, Any]) -> None:
        """Adds to TensorBoard, once per run, descriptions in Markdown by name and the run's settings (see
        `introduce`)."""
        if self._curves is None:
            return
        for name, text in texts.items():
            self._curves.add(event_of(text_summary(name, text), 0))
        self.introduce(settings)

    def introduce(self, settings: Mapping[str, Any]) -> None:
        """Adds the run's settings to TensorBoard's comparison of runs, unless they are there already. If they
        cannot be written now, every tick tries again."""
        if self._curves is None:
            return
        try:
            begin_evaluation(self._run, settings)
        except (OSError, RunFailed, UserError) as error:
            if self._settings is None:
                folder = self._run / EVALUATION
                self.say(
                    f"hrgan: warning: {folder}: cannot be written yet ({reason_of(error.__cause__ or error)})"
                )
            self._settings = settings
        else:
            self._settings = None

    def tick(self, images_seen: int, step: int, figures: Figures) -> None:
        """Reports the means since the last tick: one line for the user, one in the log, one point a curve."""
        now = time.perf_counter()
        seconds, images = now - self._time, images_seen - self._images
        self._time, self._images = now, images_seen
        speed = {
            "speed/seconds_per_kimg": 1000 * seconds / max(images, 1),
            "speed/images_per_second": images / max(seconds, 1e-9),
            "memory/peak_gib": peak_gib(self._device),
        }
        if "speed/data_wait_seconds" in figures:
            speed["speed/data_wait_share"] = figures["speed/data_wait_seconds"] / max(seconds, 1e-9)
        left = self._seconds_left(images_seen, now)
        if self._settings is not None:
            self.introduce(self._settings)
        self._append({"images_seen": images_seen, "step": step, "time": time.time(), **figures, **speed})
        self.say(tick_line(images_seen, self._total, {**figures, **speed}, left))
        self._scalars({**figures, **speed}, images_seen)

    @property
    def has_pictures(self) -> bool:
        """Whether pictures are shown at all."""
        return self._curves is not None

    def picture(self, name: str, picture: np.ndarray, images_seen: int) -> None:
        """Adds an image [H, W, C] uint8 to TensorBoard."""
        if self._curves is not None:
            self._curves.add(event_of(picture_summary(name, picture), images_seen))
            self._curves.flush()

    def sync(self) -> None:
        """Makes what has been written of log and curves durable, since a run that continues from a checkpoint
        does not write again what comes before it. It may be called from any thread."""
        if self._log.exists():
            with explained(self._log):
                fsync_file(self._log)
                fsync_folder(self._run)
        if self._curves is not None:
            self._curves.sync()

    def _seconds_left(self, images_seen: int, now: float) -> float:
        done = images_seen - self._first_images
        rate = (now - self._first_time) / max(done, 1)
        return rate * max(self._total - images_seen, 0)

    def _append(self, entry: Mapping[str, float]) -> None:
        with explained(self._log), self._log.open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def _scalars(self, figures: Figures, images_seen: int) -> None:
        if self._curves is None:
            return
        for name, value in figures.items():
            self._curves.add(event_of(scalar_summary(name, value), images_seen))
        if not self._is_laid_out:  # the first tick has every phase, and so every curve
            self._curves.add(event_of(layout_summary(curves_layout(figures)), 0))
            self._is_laid_out = True
        self._curves.flush()


def stage_figures(stage: Stage) -> Figures:
    """Returns the conditions of a stage by their names in the log, without waiting for the device."""
    return {
        "stage/resolution": stage.resolution,
        "stage/fade": float(stage.fade),
        "stage/batch_size": stage.batch_size,
        "stage/ema_beta": stage.ema_beta,
        **{f"stage/rate/{net}": rate for net, rate in stage.rates.items()},
        **{f"stage/beta2/{net}": beta2 for net, beta2 in stage.adam_beta2.items()},
        **{f"stage/weight/{name}": float(weight) for name, weight in stage.weights.items()},
    }


def curves_layout(tags: Iterable[str]) -> Layout:
    """Returns the charts of TensorBoard's tab of custom scalars: curves that belong together in one chart,
    and no chart without a curve. The category `quality` is left empty for evaluation to fill."""
    known = sorted(tags)
    layout: dict[str, dict[str, list[Any]]] = {}
    for category, charts in _CHARTS.items():
        filled = layout.setdefault(category, {})
        for chart, beginnings in charts.items():
            for tag in (tag for tag in known if tag.startswith(beginnings)):
                filled.setdefault(chart or tag, ["Multiline", []])[1].append(f"^{tag}$")
    return {category: charts for category, charts in layout.items() if charts or not _CHARTS[category]}


def tick_line(images_seen: int, total: int, figures: Figures, seconds_left: float) -> str:
    """Returns a line such as
    `64k/128k images  8.1 s/kimg  loss/generator 0.71 ...  1.2 GiB  left 0:10:03`."""
    shown = [f"{name} {value:.4g}" for name, value in figures.items() if name.startswith(_HEADLINES)]
    if figures.get("skipped_updates", 0) > 0:
        shown.append(f"skipped_updates {figures['skipped_updates']:.3g}")
    if "data/damaged_images" in figures:
        shown.append(f"damaged images passed over {figures['data/damaged_images']:.0f}")
    if figures.get("speed/data_wait_share", 0.0) >= _WAIT_SHOWN:
        shown.append(f"data wait {figures['speed/data_wait_share']:.0%}")
    if "store/retries" in figures:
        shown.append(f"asked stores again {counted(round(figures['store/retries']), 'time')}")
    parts = [
        f"{_short(images_seen)}/{_short(total)} images",
        _pace(figures["speed/seconds_per_kimg"]),
        *shown,
        f"{figures['memory/peak_gib']:.2f} GiB",
        f"left {timedelta(seconds=round(seconds_left))}",
    ]
    return "  ".join(parts)


def _pace(seconds_per_kimg: float) -> str:
    digits = ".0f" if seconds_per_kimg >= 100 else ".3g"
    return f"{seconds_per_kimg:{digits}} s/kimg"


def _short(count: int) -> str:
    if count < 10_000:
        return str(count)
    return f"{count / 1e6:.3f}M" if count >= 1_000_000 else f"{count / 1e3:.1f}k"


def drop_after(log: Path, images_seen: int) -> int:
    """Removes the entries beyond `images_seen`, and lines that a kill or a power loss cut short. Returns how
    many remain."""
    try:
        with explained(log, "read"):
            entries = [(line, log_entry(line)) for line in read_lines(log)]
    except FileNotFoundError:
        return 0
    except Damaged as damage:
        raise refusal(damage, f"{damage}; move it away, and the log begins anew") from damage
    kept = [line for line, entry in entries if entry is not None and entry["images_seen"] <= images_seen]
    publish_bytes(log, b"".join(line + b"\n" for line in kept))
    return len(kept)
