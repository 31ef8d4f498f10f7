"""Nearest neighbours in feature space: precision and recall, density and coverage.

Distances are computed in tiles. Besides the two sets of features, a process holds a few times TILE_ROWS x
TILE_COLUMNS distances (40 MB each), however many images there are. Rows of tiles are the blocks of work that
processes share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline.evaluation.peers import Peers, blocks, in_order

PR_NEIGHBOUR, DC_NEIGHBOUR = 3, 5
TILE_ROWS, TILE_COLUMNS = 1000, 10_000
_MOST = max(PR_NEIGHBOUR, DC_NEIGHBOUR)


@dataclass(frozen=True)
class Meeting:
    """How fakes and reals lie among each other. inside [N]: whether a fake lies in the ball of any real.
    reached [M]: whether a real lies in the ball of any fake. around [N]: in how many reals' balls a fake
    lies. covered [M]: whether the ball of a real holds any fake. The balls of the first two reach to the 3rd
    nearest neighbour, those of the others to the 5th."""

    inside: Tensor
    reached: Tensor
    around: Tensor
    covered: Tensor


def neighbour_distances(points: Tensor, peers: Peers, device: torch.device | str = "cpu") -> Tensor:
    """The distances [N, 5] from each of `points` [N, D] to its 1st ... 5th nearest neighbour among the
    others, on the first process; empty on the others."""
    points = points.to(device)

    def work(rows: range) -> Tensor:
        nearest = torch.empty(len(rows), 0, device=device)
        for start in range(0, len(points), TILE_COLUMNS):
            tile = torch.cdist(points[rows.start : rows.stop], points[start : start + TILE_COLUMNS])
            near = tile.topk(min(_MOST + 1, tile.shape[1]), dim=1, largest=False).values
            both = torch.cat([nearest, near], dim=1)
            nearest = both.topk(min(_MOST + 1, both.shape[1]), dim=1, largest=False).values
        return nearest.sort(dim=1).values[:, 1:].cpu()  # without the point itself

    parts = list(in_order(blocks(len(points), TILE_ROWS), work, peers))
    return torch.cat(parts) if parts else torch.empty(0, _MOST)


def meet(
    fakes: Tensor,
    reals: Tensor,
    around_fakes: Tensor,
    around_reals: Tensor,
    peers: Peers,
    device: torch.device | str = "cpu",
) -> Meeting | None:
    """The meeting of fakes [N, D] and reals [M, D], given the `neighbour_distances` of both, on the first
    process; None on the others."""
    fakes, reals = fakes.to(device), reals.to(device)
    fake_radii = around_fakes[:, PR_NEIGHBOUR - 1].to(device)
    real_radii, wide_radii = (around_reals[:, k - 1].to(device) for k in (PR_NEIGHBOUR, DC_NEIGHBOUR))

    def work(rows: range) -> Meeting:
        ours = slice(rows.start, rows.stop)
        parts: list[tuple[Tensor, ...]] = []
        for start in range(0, len(reals), TILE_COLUMNS):
            theirs = slice(start, start + TILE_COLUMNS)
            tile = torch.cdist(fakes[ours], reals[theirs])
            wide = tile < wide_radii[theirs]
            parts.append(
                (
                    (tile <= real_radii[theirs]).any(1),
                    (tile <= fake_radii[ours, None]).any(0),
                    wide.sum(1),
                    wide.any(0),
                )
            )
        inside, reached, around, covered = zip(*parts, strict=True)
        return Meeting(
            torch.stack(inside).any(0).cpu(),
            torch.cat(reached).cpu(),
            torch.stack(around).sum(0).cpu(),
            torch.cat(covered).cpu(),
        )

    return _joined(list(in_order(blocks(len(fakes), TILE_ROWS), work, peers)))


def _joined(parts: Sequence[Meeting]) -> Meeting | None:
    if not parts:
        return None
    return Meeting(
        torch.cat([part.inside for part in parts]),
        torch.stack([part.reached for part in parts]).any(0),
        torch.cat([part.around for part in parts]),
        torch.stack([part.covered for part in parts]).any(0),
    )


def precision_recall(meeting: Meeting) -> dict[str, Any]:
    """Improved precision and recall (Kynkaanniemi et al. 2019, eqs. 1-2), with balls that reach to the 3rd
    neighbour.

    `value` is their harmonic mean.
    """
    precision, recall = _share(meeting.inside), _share(meeting.reached)
    return {
        "value": 2 * precision * recall / max(precision + recall, 1e-5),
        "precision": precision,
        "recall": recall,
        "neighbours": PR_NEIGHBOUR,
    }


def density_coverage(meeting: Meeting) -> dict[str, Any]:
    """Density and coverage (Naeem et al. 2020, eqs. 3 and 4), with balls that reach to the 5th neighbour.

    `value` is coverage, which is at most 1. Density is near 1 for equal distributions and can exceed it.
    """
    return {
        "value": _share(meeting.covered),
        "density": float(meeting.around.double().mean()) / DC_NEIGHBOUR,
        "coverage": _share(meeting.covered),
        "neighbours": DC_NEIGHBOUR,
    }


def _share(flags: Tensor) -> float:
    return float(flags.double().mean())
