"""What layers remember of the rows above the one that is being drawn."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Rows:
    """The memory of layers that are shown an image row by row, from the top.

    A row may be shown any number of times before it is finished; what layers keep of it counts from then on.
    number: of the row that is shown, from 0.
    """

    def __init__(self) -> None:
        self.number = 0
        self._finished: dict[nn.Module, Tensor] = {}
        self._shown: dict[nn.Module, Tensor] = {}
        self._in_row: dict[nn.Module, Tensor] = {}
        self._weights: dict[nn.Module, Tensor] = {}

    def last(self, layer: nn.Module) -> Tensor | None:
        """Returns what `layer` kept of the rows that are finished; None if there are none."""
        return self._finished.get(layer)

    def keep(self, layer: nn.Module, value: Tensor) -> None:
        """Keeps what `layer` has to know of the rows so far, up to the one that is shown."""
        self._shown[layer] = value

    def finish(self) -> None:
        """Goes on to the next row; what was shown last is what the present one holds."""
        self._finished |= self._shown
        self._shown, self._in_row = {}, {}
        self.number += 1

    def in_row(self, layer: nn.Module, make: Callable[[], Tensor]) -> Tensor:
        """Returns what `make` makes, which depends on finished rows alone; it is called once a row."""
        return _once(self._in_row, layer, make)

    def weight(self, layer: nn.Module, make: Callable[[], Tensor]) -> Tensor:
        """Returns the weight of `layer`, which `make` makes of its parameters; it is called once an image."""
        return _once(self._weights, layer, make)


def _once(made: dict[nn.Module, Tensor], layer: nn.Module, make: Callable[[], Tensor]) -> Tensor:
    if layer not in made:
        made[layer] = make()
    return made[layer]


def under(layer: nn.Module, x: Tensor, count: int, rows: Rows | None) -> Tensor:
    """Returns x [N, C, H, W] below the `count` rows above it, [N, C, count + H, W].

    Of a whole image (`rows` is None) and at the top these are zeros; otherwise they are rows that `layer` was
    shown before.
    """
    if not count:
        return x
    before = None if rows is None else rows.last(layer)
    whole = F.pad(x, (0, 0, count, 0)) if before is None else torch.cat([before, x], dim=2)
    if rows is not None:
        rows.keep(layer, whole[:, :, -count:])
    return whole
