"""Directions in latent space: from two groups (arithmetic) and from the weights alone (SeFa)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.exploration.groups import Groups
from pipeline.exploration.numbers import listed, parse_layers, spread
from pipeline.exploration.subject import Subject
from pipeline.exploration.vectors import Vectors, load_vectors, save_vectors
from pipeline.exploration.views import Points, Walk, walk
from pipeline.latents import LinearSpace

NAME = "directions"
"""Of the tensor that holds them, [number, layers, dim]."""


def between_groups(subject: Subject, groups: Groups, classes: Sequence[int], psi: float) -> Tensor:
    """The mean code of one group less that of the other, [layers, dim]: the mean of all differences."""
    plus, minus = (subject.codes(seeds, classes, psi) for seeds in (groups.plus, groups.minus))
    return plus.double().mean(0).sub(minus.double().mean(0)).float()


def between_classes(subject: Subject, plus: int, minus: int, seeds: Sequence[int], psi: float) -> Tensor:
    """The mean over `seeds` of how a seed's code changes from class `minus` to class `plus`, [layers,
    dim]."""
    first, second = (subject.codes(seeds, (label,), psi) for label in (plus, minus))
    return (first.double() - second.double()).mean(0).float()


def factorised(weights: Sequence[Tensor], count: int) -> tuple[Tensor, Tensor]:
    """The `count` unit vectors n that change A n most, [count, dim], and |A n|^2 (Shen and Zhou 2021, eq. 4):
    eigenvectors of A^T A, A all `weights` [outputs, dim] one below the other.

    Each points so that its largest component is positive; an eigenvector's sign means nothing.
    """
    a = torch.cat([weight.double().cpu() for weight in weights])
    values, vectors = torch.linalg.eigh(a.T @ a)
    chosen = vectors.flip(1)[:, :count].T
    largest = chosen.gather(1, chosen.abs().argmax(dim=1, keepdim=True))
    return (chosen * largest.sign()).float(), values.flip(0)[:count].float()


def sefa(
    subject: Subject,
    out: Path,
    points: Points,
    *,
    count: int,
    layers: str | None,
    strength: float,
    steps: int,
) -> Path:
    """Rows: a direction on each seed. Columns: how far. Vectors: directions, eigenvalues."""
    space = subject.space
    assert isinstance(space, LinearSpace)
    weights = space.code_weights()
    chosen = parse_layers(layers, len(weights))
    most = int(torch.cat(weights).any(dim=0).sum())
    if count > most:
        raise UserError(f"--count {count}: latents have {most} components; allowed: 1 to {most}")
    vectors, values = factorised([weights[i] for i in chosen], count)
    # A direction moves the layers it was found in, where layers have codes of their own.
    moved = chosen if space.layers == len(weights) else range(space.layers)
    directions = on_layers(vectors[:, None].expand(-1, space.layers, -1), moved)
    codes, names = shown_points(subject, points)
    rows = [f"{i}, {name}" for i in range(count) for name in names]
    walk(
        subject,
        out,
        Walk(codes.repeat(count, 1, 1), rows, directions.repeat_interleave(len(codes), 0)),
        spread(strength, steps),
        title=f"SeFa directions of layers {listed(chosen)}",
    )
    tensors = {NAME: directions, "eigenvalues": values}
    about = {"layers": chosen, "seeds": points.seeds, "strength": strength}
    return save_vectors(out, tensors, subject.snapshot, tool="sefa", **about)


def arithmetic(
    subject: Subject,
    out: Path,
    points: Points,
    direction: Tensor,
    *,
    origin: str,
    layers: str | None,
    strength: float,
    steps: int,
) -> Path:
    """Walks along a direction [layers, dim] from each seed and keeps it. Columns: in units of its length,
    the distance between the means of the groups."""
    if not direction.any():
        raise UserError("direction: the two groups have the same mean; give others")
    chosen = parse_layers(layers, subject.space.layers)
    directions = on_layers(direction[None], chosen)
    codes, names = shown_points(subject, points)
    walk(subject, out, Walk(codes, names, directions.expand_as(codes)), spread(strength, steps), title=origin)
    about = {"origin": origin, "layers": chosen, "seeds": points.seeds, "psi": points.psi}
    return save_vectors(out, {NAME: directions}, subject.snapshot, tool="direction", **about)


def shown_points(subject: Subject, points: Points) -> tuple[Tensor, list[str]]:
    """The codes [N, layers, dim] of the seeds that a tool shows, and a name for each."""
    start = subject.start(points.seeds, points.classes, points.psi)
    return subject.map(start, points.psi), subject.names(points.seeds, start)


def kept_direction(vectors: Vectors, shape: tuple[int, ...], number: int) -> Tensor:
    """Direction `number` of a file, [layers, dim]. UserError if it is not there or another generator's."""
    directions = vectors.of(NAME, shape)
    if number >= len(directions):
        raise UserError(
            f"--number {number}: {vectors.path} has {len(directions)}; allowed: 0 to {len(directions) - 1}"
        )
    return directions[number]


def on_layers(directions: Tensor, layers: Sequence[int]) -> Tensor:
    """Directions [..., layers, dim] that are 0 except on some layers."""
    kept = torch.zeros_like(directions)
    kept[..., list(layers), :] = directions[..., list(layers), :]
    return kept


@dataclass(frozen=True)
class Walked:
    """A file with directions, which of them, and a file of codes to start from (None: seeds)."""

    along: Path
    number: int = 0
    start: Path | None = None


def walk_along(
    subject: Subject,
    out: Path,
    points: Points,
    kept: Walked,
    strengths: Sequence[float],
    per_second: float,
) -> None:
    """Walks from seeds, or from codes that a tool kept, along a kept direction."""
    vectors = load_vectors(kept.along)
    shape = tuple(subject.codes((0,), points.classes[:1]).shape[1:])
    direction = kept_direction(vectors, shape, kept.number)
    if kept.start is None:
        codes, names = shown_points(subject, points)
    else:
        codes = load_vectors(kept.start).of("codes", shape).to(subject.space.device)
        names = [f"{kept.start.stem} {i}" for i in range(len(codes))]
    way = Walk(codes, names, direction.expand_as(codes))
    title = f"along {kept.along.stem} {kept.number}"
    walk(subject, out, way, strengths, title=title, per_second=per_second)
