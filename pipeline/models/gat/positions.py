"""Where a token is: tables of sines and cosines, and rotations of queries and keys.

The two take the axes in different orders: the table has columns first, rotations have rows first.
"""

from __future__ import annotations

import torch
from torch import Tensor

_BASE = 10_000.0


def position_table(rows: int, columns: int, width: int) -> Tensor:
    """Returns the fixed position of each token, row by row, [rows * columns, width] float32.

    The first half of the features tells the column and the second half the row; each half holds the sines of
    all frequencies, then the cosines (He et al. 2022, "Masked autoencoders are scalable vision learners", as
    its authors' code has it). width: a multiple of 4.
    """
    row, column = _places(rows, columns)
    frequencies = _frequencies(width // 4)
    angles = [axis[:, None] * frequencies for axis in (column, row)]
    return torch.cat([part for angle in angles for part in (angle.sin(), angle.cos())], dim=1).float()


def rotations(rows: int, columns: int, width: int) -> Tensor:
    """Returns the cosines and sines that turn the features of a head, [2, rows * columns, width] float32.

    Features 2i and 2i + 1 form a pair, whose angle grows along the rows in the first half of the features and
    along the columns in the second (Su et al. 2021, "RoFormer", section 3.2.2, along two axes). width: a
    multiple of 4.
    """
    frequencies = _frequencies(width // 4)
    angles = torch.cat([axis[:, None] * frequencies for axis in _places(rows, columns)], dim=1)
    angles = angles.repeat_interleave(2, dim=1)
    return torch.stack([angles.cos(), angles.sin()]).float()


def rotated(x: Tensor, turns: Tensor) -> Tensor:
    """Returns features [..., tokens, width] with each pair turned by the angle of its token.

    turns: as `rotations` returns them.
    """
    first, second = x[..., 0::2], x[..., 1::2]
    crossed = torch.stack([-second, first], dim=-1).flatten(-2)
    return torch.addcmul(x * turns[0], crossed, turns[1])


def _frequencies(count: int) -> Tensor:
    """10000^(-i / count) for i from 0 to count - 1."""
    return _BASE ** (-torch.arange(count, dtype=torch.float64) / count)


def _places(rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """The row and the column of each token, [rows * columns] float64."""
    row = torch.arange(rows, dtype=torch.float64).repeat_interleave(columns)
    return row, torch.arange(columns, dtype=torch.float64).repeat(rows)
