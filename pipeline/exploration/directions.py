"""Directions in latent space, from two groups of seeds (arithmetic) or from the weights alone (SeFa)."""

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
from pipeline.exploration.views import LatentPoints, Walk, walk
from pipeline.latents import LinearSpace

NAME = "directions"
"""The name of the tensor with the directions, [number, layers, dim]."""


def between_groups(subject: Subject, groups: Groups, classes: Sequence[int], psi: float) -> Tensor:
    """The difference between the mean codes of the two groups, [layers, dim]."""
    plus, minus = (subject.codes(seeds, classes, psi) for seeds in (groups.plus, groups.minus))
    return plus.double().mean(0).sub(minus.double().mean(0)).float()


def between_classes(subject: Subject, plus: int, minus: int, seeds: Sequence[int], psi: float) -> Tensor:
    """How a seed's code changes from class `minus` to class `plus`, [layers, dim], averaged over `seeds`."""
    first, second = (subject.codes(seeds, (label,), psi) for label in (plus, minus))
    return (first.double() - second.double()).mean(0).float()


def factorised(weights: Sequence[Tensor], count: int) -> tuple[Tensor, Tensor]:
    """The `count` unit vectors n with the largest |A n|, [count, dim], and |A n|^2 (Shen and Zhou 2021, eq.
    4): the eigenvectors of A^T A, where A stacks all `weights` [outputs, dim].

    The sign of an eigenvector is arbitrary; each is chosen so that its largest component is positive.
    """
    a = torch.cat([weight.double().cpu() for weight in weights])
    values, vectors = torch.linalg.eigh(a.T @ a)
    chosen = vectors.flip(1)[:, :count].T
    largest = chosen.gather(1, chosen.abs().argmax(dim=1, keepdim=True))
    return (chosen * largest.sign()).float(), values.flip(0)[:count].float()


def sefa(
    subject: Subject,
    out: Path,
    points: LatentPoints,
    *,
    count: int,
    layers: str | None,
    strength: float,
    steps: int,
) -> Path:
    """A sheet with a row for each direction and seed, and a column for each strength. Saves the directions
    and eigenvalues as vectors."""
    space = subject.space
    assert isinstance(space, LinearSpace)
    weights = space.code_weights()
    chosen = parse_layers(layers, len(weights))
    most = int(torch.cat(weights).any(dim=0).sum())
    if count > most:
        raise UserError(f"--count {count}: latents have {most} components; allowed: 1 to {most}")
    vectors, values = factorised([weights[i] for i in chosen], count)
    # If each layer has a code of its own, a direction applies to the layers it was computed from.
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
    points: LatentPoints,
    direction: Tensor,
    *,
    origin: str,
    layers: str | None,
    strength: float,
    steps: int,
) -> Path:
    """Walks along a direction [layers, dim] from each seed, and saves the direction. Columns are in units of
    its length, which is the distance between the groups' means."""
    if not direction.any():
        raise UserError("direction: the two groups have the same mean; give others")
    chosen = parse_layers(layers, subject.space.layers)
    directions = on_layers(direction[None], chosen)
    codes, names = shown_points(subject, points)
    walk(subject, out, Walk(codes, names, directions.expand_as(codes)), spread(strength, steps), title=origin)
    about = {"origin": origin, "layers": chosen, "seeds": points.seeds, "psi": points.psi}
    return save_vectors(out, {NAME: directions}, subject.snapshot, tool="direction", **about)


def shown_points(subject: Subject, points: LatentPoints) -> tuple[Tensor, list[str]]:
    """The codes [N, layers, dim] of the points that a tool shows, and a name for each."""
    start = subject.start(points.seeds, points.classes, points.psi)
    return subject.map(start, points.psi), subject.names(points.seeds, start)


def kept_direction(vectors: Vectors, shape: tuple[int, ...], number: int) -> Tensor:
    """Direction `number` of a file, [layers, dim]. UserError if it does not exist or belongs to another
    generator."""
    directions = vectors.of(NAME, shape)
    if number >= len(directions):
        raise UserError(
            f"--number {number}: {vectors.path} has {len(directions)}; allowed: 0 to {len(directions) - 1}"
        )
    return directions[number]


def on_layers(directions: Tensor, layers: Sequence[int]) -> Tensor:
    """Directions [..., layers, dim], set to 0 on all but the given layers."""
    kept = torch.zeros_like(directions)
    kept[..., list(layers), :] = directions[..., list(layers), :]
    return kept


@dataclass(frozen=True)
class Walked:
    """A file of directions, the number of the one to walk along, and a file of codes to start from (None:
    start from seeds)."""

    along: Path
    number: int = 0
    start: Path | None = None


def walk_along(
    subject: Subject,
    out: Path,
    points: LatentPoints,
    kept: Walked,
    strengths: Sequence[float],
    per_second: float,
) -> None:
    """Walks along a saved direction, from seeds or from saved codes."""
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
