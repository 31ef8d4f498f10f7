"""Ways between latents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pipeline.exploration.subject import Subject
from pipeline.latents import Latents

Way = Literal["w", "z"]
"""w: straight lines between codes. z: great circles between z, straight lines between classes."""


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """From a to b [N, dim] along a great circle, t [N] from 0 to 1 (Shoemake 1985, section 3.3).

    Lengths go from one to the other with it. Vectors that lie on one line have no such circle: a straight
    line. At t 0 and 1 it is a and b, bit for bit.
    """
    cosine = torch.nn.functional.cosine_similarity(a.double(), b.double(), dim=-1).clamp(-1, 1)
    angle = torch.arccos(cosine)
    flat = torch.sin(angle) < 1e-6
    safe = torch.where(flat, torch.ones_like(angle), angle)
    weights = [torch.sin(part * safe) / torch.sin(safe) for part in (1 - t.double(), t.double())]
    round_way = weights[0][:, None] * a.double() + weights[1][:, None] * b.double()
    straight = torch.lerp(a.double(), b.double(), t.double()[:, None])
    return torch.where(flat[:, None], straight, round_way).to(a.dtype)


@dataclass(frozen=True)
class Route:
    """The points of a path: z and labels of seeds, with the truncation of all. way: how to go between."""

    subject: Subject
    start: Latents
    psi: float
    way: Way

    def between(self, first: Sequence[int], second: Sequence[int], t: Sequence[float]) -> Tensor:
        """Codes [N, layers, dim] from points `first` to points `second`, each at its `t` from 0 to 1."""
        places = torch.tensor(t, dtype=torch.float32, device=self.start.z.device)
        a, b = list(first), list(second)
        if self.way == "w":
            codes = self.subject.map(self.start, self.psi)
            return mixed(codes[a], codes[b], places)
        z = slerp(self.start.z[a], self.start.z[b], places)
        if self.start.labels is None:
            return self.subject.map(Latents(z, None), self.psi)
        ends = [self.subject.map(Latents(z, self.start.labels[end]), self.psi) for end in (a, b)]
        return mixed(ends[0], ends[1], places)

    def corners(self, down: Sequence[float], across: Sequence[float]) -> Tensor:
        """Codes [down * across, layers, dim] between four points: 0 and 1 above, 2 and 3 below."""
        d, a = (torch.tensor(v, device=self.start.z.device) for v in (down, across))
        rows, columns = d.repeat_interleave(len(a)), a.repeat(len(d))
        if self.way == "w":
            codes = self.subject.map(self.start, self.psi)
            above, below = (mixed(codes[[i]], codes[[i + 1]], columns) for i in (0, 2))
            return mixed(above, below, rows)
        z = self.start.z
        many = len(rows)
        edges = [slerp(z[[i] * many], z[[i + 1] * many], columns) for i in (0, 2)]
        middle = slerp(edges[0], edges[1], rows)
        if self.start.labels is None:
            return self.subject.map(Latents(middle, None), self.psi)
        at = [self.subject.map(Latents(middle, self.start.labels[[i] * many]), self.psi) for i in range(4)]
        return mixed(mixed(at[0], at[1], columns), mixed(at[2], at[3], columns), rows)


def mixed(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """a + t (b - a), exactly a at 0 and b at 1: [N, layers, dim] and t [N]."""
    return torch.lerp(a, b, t.to(a.dtype)[:, None, None])


def segments(points: int, steps: int, *, loop: bool) -> list[tuple[int, int, list[float]]]:
    """Neighbours along `points` with `steps` places from 0 to 1, both included; loop: back to the first."""
    places = [i / (steps - 1) for i in range(steps)]
    ends = [(i, i + 1) for i in range(points - 1)]
    if loop and points > 2:
        ends.append((points - 1, 0))
    return [(a, b, places) for a, b in ends]
