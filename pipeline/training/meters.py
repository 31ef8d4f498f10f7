"""Figures gathered on the device, read once a tick."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class Meters:
    """Sums of scalars by name; `flush` waits for the device once and gives their means."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, stats: Mapping[str, Tensor]) -> None:
        """Adds one value each; vectors are for `Family.observe`, not for people, and are left out."""
        for name, value in stats.items():
            if value.ndim == 0:
                value = value.detach().double()
                self._sums[name] = self._sums[name] + value if name in self._sums else value
                self._counts[name] = self._counts.get(name, 0) + 1

    def flush(self) -> dict[str, float]:
        """The means since the last flush, by name in alphabetical order."""
        names = sorted(self._sums)
        if not names:
            return {}
        values = torch.stack([self._sums[name] / self._counts[name] for name in names]).tolist()
        self._sums.clear()
        self._counts.clear()
        return dict(zip(names, values, strict=True))
