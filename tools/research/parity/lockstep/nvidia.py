"""The training loop of NVIDIA's public code and of what grew from it, run on a CPU as it stands.

`training/training_loop.py` runs unmodified: its data set, its random numbers and its devices are stood in
for; each step ends in its own callback, which sees what the networks and optimizers have become.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import itertools
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.models.augment.adjoint import linear_map
from tools.research.parity.lockstep.ours import TurnInputs
from tools.research.parity.lockstep.supply import Supply

MULTIPLIERS: Mapping[str, Sequence[str]] = {
    "blit": ("xflip", "rotate90", "xint"),
    "geometry": ("scale", "rotate", "aniso", "xfrac"),
    "color": ("brightness", "contrast", "lumaflip", "hue", "saturation"),
    "filter": ("imgfilter",),
    "noise": ("noise",),
    "cutout": ("cutout",),
}
"""Of their augmentation, by our groups."""

_ENDLESS_KIMG = 10**6


class Reals:
    """Implements their data set: the images of our turns, in the order in which they are asked for."""

    def __init__(self, spec: Mapping[str, Any], batches: Callable[[], list[TurnInputs]]) -> None:
        self.resolution, self.num_channels = spec["height"], spec["channels"]
        self.label_dim = spec["classes"]
        self.image_shape = [self.num_channels, self.resolution, self.resolution]
        self.label_shape = [self.label_dim]
        self.has_labels = bool(self.label_dim)
        self._batches = batches
        self._images: Iterator[tuple[np.ndarray, np.ndarray]] = iter(())
        self._labels: list[np.ndarray] = []
        self._asked = 0

    def __len__(self) -> int:
        return 1 << 20

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        batch = next(self._images, None)
        if batch is None:
            self._images = self._loaded()
            batch = next(self._images)
        return batch

    def get_label(self, index: int) -> np.ndarray:
        """Of fakes: they get those of the reals, as ours do."""
        label = self._labels[self._asked % len(self._labels)]
        self._asked += 1
        return label

    def _loaded(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        rows = []
        for turn in self._batches():
            levels = ((turn.reals.images + 1) * 127.5).round().to(torch.uint8).numpy()
            labels = torch.zeros(len(levels), 0)
            if turn.reals.labels is not None:
                labels = F.one_hot(turn.reals.labels, self.label_dim).float()
            rows += list(zip(levels, labels.numpy(), strict=True))
        self._labels, self._asked = [label for _, label in rows], 0
        return iter(rows)


class _OnCpu:
    """torch, whose every device is the CPU."""

    cuda = SimpleNamespace(
        Event=lambda **_: mock.Mock(elapsed_time=lambda other: 0.0),
        current_stream=lambda device=None: None,
        max_memory_allocated=lambda device=None: 0,
        max_memory_reserved=lambda device=None: 0,
        reset_peak_memory_stats=lambda device=None: None,
    )

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    @staticmethod
    def device(*_: Any) -> torch.device:
        return torch.device("cpu")


def drive(
    settings: Mapping[str, Any],
    *,
    reals: Reals,
    supply: Supply | None,
    made: Callable[[str, Any], None],
    after: Callable[[Mapping[str, Any]], bool],
    every_images: int = 0,
) -> None:
    """Runs their loop of `settings`.

    supply: its random numbers; None: its own. made: told of each object that it constructs, by its class's
    name. after: given the loop's variables after the first step, and at the end of each step by which
    `every_images` more were seen; True ends it.
    """
    loop: Any = importlib.import_module("training.training_loop")
    construct = loop.dnnlib.util.construct_class_by_name

    def constructing(*rest: Any, class_name: str, **options: Any) -> Any:
        if class_name == "reals":
            return reals
        constructed = construct(*rest, class_name=class_name, **options)
        made(class_name, constructed)
        return constructed

    def ended() -> bool:
        return after(sys._getframe(1).f_locals)

    feeding = contextlib.nullcontext() if supply is None else supply.feeding()
    with _stood_in(loop, constructing), feeding, tempfile.TemporaryDirectory() as folder:
        loop.training_loop(
            run_dir=folder,
            training_set_kwargs={"class_name": "reals"},
            total_kimg=_ENDLESS_KIMG,
            kimg_per_tick=every_images / 1000,  # every tick asks whether to go on
            image_snapshot_ticks=None,
            network_snapshot_ticks=None,
            abort_fn=ended,
            cudnn_benchmark=False,
            **settings,
        )


@dataclass(frozen=True)
class Course:
    """What their loop is given where it trains by itself, with its own random numbers.

    begun: gets their untrained generator. after: gets images seen and their averaged generator after the
    first step, and then once in `every_images`; True ends it.
    """

    reals: Reals
    seed: int
    every_images: int
    begun: Callable[[Any], None]
    after: Callable[[int, Any], bool]


def train_alone(settings: Mapping[str, Any], course: Course) -> None:
    """Runs their loop of `settings` as it stands."""
    network = settings["G_kwargs"]["class_name"]

    def made(kind: str, constructed: Any) -> None:
        if kind == network:
            course.begun(constructed)

    drive(
        {**settings, "random_seed": course.seed},
        reals=course.reals,
        supply=None,
        made=made,
        after=lambda variables: course.after(variables["cur_nimg"], variables["G_ema"]),
        every_images=course.every_images,
    )


@contextlib.contextmanager
def _stood_in(loop: Any, constructing: Callable[..., Any]) -> Iterator[None]:
    """What a CPU, and a run that leaves nothing behind, cannot have."""

    def grid(training_set: Any) -> tuple[Any, Any, Any]:
        shape = [1, *training_set.image_shape]
        return (1, 1), np.zeros(shape, np.uint8), np.zeros([1, *training_set.label_shape], np.float32)

    sample: Any = importlib.import_module("torch_utils.ops.grid_sample_gradfix")
    with contextlib.ExitStack() as stack:
        for owner, name, value in (
            (loop, "torch", _OnCpu()),
            (loop, "setup_snapshot_image_grid", grid),
            (loop, "save_image_grid", lambda *_, **__: None),
            (loop.misc, "InfiniteSampler", lambda **_: itertools.count()),  # newer torch refuses theirs
            (loop.misc, "print_module_summary", lambda *_, **__: None),  # it would move w_avg
            (loop.dnnlib.util, "construct_class_by_name", constructing),
            (sample, "grid_sample", look_up),
            (Tensor, "pin_memory", lambda tensor: tensor),
        ):
            stack.enter_context(mock.patch.object(owner, name, value))
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        yield


def look_up(images: Tensor, grid: Tensor) -> Tensor:
    """torch's grid_sample with derivatives of second order, which theirs has for older versions of torch."""
    like = torch.zeros_like(images)

    def back(values: Tensor) -> Tensor:
        spread: Tensor = torch.ops.aten.grid_sampler_2d_backward(
            values.contiguous(), like, grid, 0, 0, False, [True, False]
        )[0]
        return spread

    return linear_map(images, lambda x: F.grid_sample(x, grid, align_corners=False), back)
