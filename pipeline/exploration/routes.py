"""Routes between latents: straight lines, great circles and grids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from pipeline.exploration.subject import Subject
from pipeline.latents import Latents, lerp, slerp

_FINE = 64  # places in a segment at which its length is taken

Way = Literal["w", "z"]
"""w: straight lines between codes. z: great circles between z, and straight lines between classes."""


@dataclass(frozen=True)
class Route:
    """A route through latent space. start: z and labels of the points on it. psi: the truncation of all
    points. way: how to go from one point to the next."""

    subject: Subject
    start: Latents
    psi: float
    way: Way

    def between(self, first: Sequence[int], second: Sequence[int], t: Sequence[float]) -> Tensor:
        """Codes [N, layers, dim] on the way from points `first` to points `second`, each at its `t` from 0 to
        1."""
        places = torch.tensor(t, dtype=torch.float32, device=self.start.z.device)
        a, b = list(first), list(second)
        if self.way == "w":
            codes = self.subject.map(self.start, self.psi)
            return lerp(codes[a], codes[b], places)
        z = slerp(self.start.z[a], self.start.z[b], places)
        if self.start.labels is None:
            return self.subject.map(Latents(z, None), self.psi)
        ends = [self.subject.map(Latents(z, self.start.labels[end]), self.psi) for end in (a, b)]
        return lerp(ends[0], ends[1], places)

    def steady(
        self, ends: Sequence[tuple[int, int]], count: int, *, loop: bool
    ) -> list[tuple[int, int, float]]:
        """`count` places on the way through the segments `ends` with equal distances between their codes, as
        a segment and a fraction of it each. With `loop`, the last is one distance before the end."""
        places = [i / _FINE for i in range(_FINE + 1)]
        flat = [(a, b, t) for a, b in ends for t in places]
        codes = self.between(*(list(part) for part in zip(*flat, strict=True)))
        lengths = codes.double().view(len(ends), _FINE + 1, -1).diff(dim=1).norm(dim=2).flatten().cpu()
        gone = np.concatenate([[0.0], lengths.cumsum(0).numpy()])
        wanted = gone[-1] * (np.arange(count) / (count if loop else count - 1))
        found = np.interp(wanted, gone, np.arange(len(gone)) / _FINE)
        numbers = np.minimum(found.astype(int), len(ends) - 1)
        return [(*ends[n], float(at - n)) for n, at in zip(numbers, found, strict=True)]

    def corners(self, down: Sequence[float], across: Sequence[float]) -> Tensor:
        """Codes [down * across, layers, dim] between four points: 0 and 1 at the top, 2 and 3 at the
        bottom."""
        d, a = (torch.tensor(v, device=self.start.z.device) for v in (down, across))
        rows, columns = d.repeat_interleave(len(a)), a.repeat(len(d))
        if self.way == "w":
            codes = self.subject.map(self.start, self.psi)
            above, below = (lerp(codes[[i]], codes[[i + 1]], columns) for i in (0, 2))
            return lerp(above, below, rows)
        z = self.start.z
        many = len(rows)
        edges = [slerp(z[[i] * many], z[[i + 1] * many], columns) for i in (0, 2)]
        middle = slerp(edges[0], edges[1], rows)
        if self.start.labels is None:
            return self.subject.map(Latents(middle, None), self.psi)
        at = [self.subject.map(Latents(middle, self.start.labels[[i] * many]), self.psi) for i in range(4)]
        return lerp(lerp(at[0], at[1], columns), lerp(at[2], at[3], columns), rows)


def segments(points: int, steps: int, *, loop: bool) -> list[tuple[int, int, list[float]]]:
    """Pairs of neighbours among `points`, each with `steps` places from 0 to 1, both included. With `loop`,
    the last is also paired with the first."""
    places = [i / (steps - 1) for i in range(steps)]
    ends = [(i, i + 1) for i in range(points - 1)]
    if loop and points > 2:
        ends.append((points - 1, 0))
    return [(a, b, places) for a, b in ends]
