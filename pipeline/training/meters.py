"""Figures that are accumulated on the device and read once per tick."""

from __future__ import annotations

import resource
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor


class Means:
    """Means by name, accumulated on the device; names may be added different numbers of times."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, stats: Mapping[str, Tensor]) -> None:
        """Adds one value for each name; gradients are detached."""
        for name, value in stats.items():
            value = value.detach()
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1

    def means(self) -> dict[str, Tensor]:
        """Returns the means so far, by name in alphabetical order."""
        return {name: _mean(self._sums[name], self._counts[name]) for name in sorted(self._sums)}


def _mean(total: Tensor, count: int) -> Tensor:
    return total if count == 1 else total / count


class Meters:
    """The scalars of a tick. Only `flush` waits for the device, once."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, ...], Tensor] = {}  # side by side, for steps with the same stats
        self._counts: dict[tuple[str, ...], int] = {}

    def add(self, stats: Mapping[str, Tensor]) -> None:
        """Adds one value for each name. Vectors, which are for `Family.observe` alone, are left out."""
        shown = {name: value for name, value in stats.items() if value.ndim == 0}
        if not shown:
            return
        names = tuple(shown)
        values = torch.stack([value.detach().float() for value in shown.values()]).double()
        self._sums[names] = self._sums[names] + values if names in self._sums else values
        self._counts[names] = self._counts.get(names, 0) + 1

    def flush(self) -> dict[str, float]:
        """Returns the means since the last flush, by name in alphabetical order, and clears them."""
        if not self._sums:
            return {}
        names = [(name, self._counts[kind]) for kind in self._sums for name in kind]
        sums = torch.cat(list(self._sums.values())).tolist()
        self._sums, self._counts = {}, {}
        totals: dict[str, float] = defaultdict(float)
        counts: dict[str, int] = defaultdict(int)
        for (name, count), value in zip(names, sums, strict=True):
            totals[name] += value
            counts[name] += count
        return {name: totals[name] / counts[name] for name in sorted(totals)}


def peak_gib(device: torch.device) -> float:
    """Returns the peak memory so far, in GiB: allocated GPU memory for a GPU, else this process's resident
    memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    try:
        # The system's other figure, ru_maxrss, includes the peak of the process that started this one.
        kib = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
    except (OSError, IndexError):  # not Linux
        kib = str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return int(kib) / 2**20
