"""Averages of the generator: the family's own, from which samples and snapshots are made, and those that are
kept beside it, of which others can be made later."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from pipeline.contracts import Keep
from pipeline.storage.averages import Kind
from pipeline.training.profiles import exponent_of, step_of


class Averager:
    """Keeps an exponential moving average of a generator's parameters; buffers are copied.

    average: the averaged module, in float32 and eval mode, without gradients.
    """

    def __init__(self, generator: nn.Module) -> None:
        self._source = generator
        self.average = copy.deepcopy(generator).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, beta: float) -> None:
        """Sets average <- beta * average + (1 - beta) * generator (Yazici et al. 2019, eq. 1)."""
        averages: list[Tensor] = list(self.average.parameters())
        sources: list[Tensor] = list(self._source.parameters())
        if averages:
            torch._foreach_lerp_(averages, sources, 1.0 - beta)
        buffers: list[Tensor] = list(self.average.buffers())
        if buffers:
            torch._foreach_copy_(buffers, list(self._source.buffers()))


class TrackedAverages:
    """Keeps averages of a generator's parameters with power profiles (Karras et al. 2024, section 3).

    widths: one average for each, see `profiles.width_of`. They are in float32 on the parameters' device.
    """

    def __init__(self, generator: nn.Module, widths: Sequence[float] = ()) -> None:
        self._source = generator
        self._averages: dict[float, dict[str, Tensor]] = {
            width: {name: value.detach().clone() for name, value in generator.named_parameters()}
            for width in widths
        }
        self._exponents = {width: exponent_of(width) for width in widths}
        self._since = dict.fromkeys(widths, 0)

    def __len__(self) -> int:
        return len(self._averages)

    def begin(self, images_seen: int) -> None:
        """Begins all averages anew at this position: the next step's generator is their first content."""
        self._since = dict.fromkeys(self._averages, images_seen)

    @torch.no_grad()
    def update(self, images_seen: int, images: int) -> None:
        """Takes in the generator as a step over `images` images has left it. images_seen: after the step."""
        sources: list[Tensor] = list(self._source.parameters())
        for width, average in self._averages.items():
            taken = images_seen - self._since[width]
            torch._foreach_lerp_(
                list(average.values()), sources, step_of(self._exponents[width], images, taken)
            )

    def at(self, images_seen: int) -> dict[Kind, Mapping[str, Tensor]]:
        """Returns the averages that have taken in a step before this position."""
        return {
            Kind(width, self._since[width]): average
            for width, average in self._averages.items()
            if self._since[width] < images_seen
        }

    def state(self, keep: Keep = lambda name: True) -> dict[str, Tensor]:
        """Returns what a checkpoint keeps: `WIDTH/PARAMETER`, and `since/WIDTH`, where the average began.

        keep: selects what to include, by the names of `RankShare.holds`.
        """
        averages = {
            f"{width:g}/{name}": value
            for width, average in self._averages.items()
            for name, value in average.items()
            if keep(f"generator.{name}")
        }
        since = {f"since/{width:g}": torch.tensor(value) for width, value in self._since.items()}
        return {**averages, **(since if keep("since") else {})}

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor], images_seen: int) -> list[float]:
        """Restores what `state` returned. Returns the widths that are not in it, which begin at this
        position. Raises KeyError or RuntimeError if names or shapes do not fit."""
        fresh = [width for width in self._averages if f"since/{width:g}" not in state]
        for width, average in self._averages.items():
            if width in fresh:
                self._since[width] = images_seen
                continue
            self._since[width] = int(state[f"since/{width:g}"])
            for name, value in average.items():
                kept = state[f"{width:g}/{name}"]
                if kept.shape != value.shape:
                    raise RuntimeError(f"{name}: {tuple(kept.shape)}, not {tuple(value.shape)}")
                value.copy_(kept)
        return fresh
