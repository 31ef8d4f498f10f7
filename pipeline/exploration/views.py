"""The tools that show what latents look like: truncation sweeps, interpolations, style mixing, walks,
motions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.exploration.animation import check_animation, is_animation, write_animation
from pipeline.exploration.motions import Motion, Orbit
from pipeline.exploration.numbers import listed, parse_layers, shown
from pipeline.exploration.routes import Route, Way, segments
from pipeline.exploration.sheet import Sheet, check_sheet, enlarged, factor
from pipeline.exploration.subject import Subject
from pipeline.exploration.vectors import save_vectors
from pipeline.images.pictures import compose_grid
from pipeline.latents import Latents, OrbitedSpace


@dataclass(frozen=True)
class LatentPoints:
    """The points of latent space that a tool shows: their seeds, the classes given to them in turn (if there
    are none, each seed draws its own), and their truncation psi."""

    seeds: tuple[int, ...]
    classes: tuple[int, ...] = ()
    psi: float = 1.0


def sweep(subject: Subject, out: Path, points: LatentPoints, values: Sequence[float]) -> Path:
    """A sheet with a row for each seed and a column for each psi. Saves the codes [seeds * psi, layers,
    dim]."""
    _check(subject, out, len(points.seeds), len(values))
    names = subject.names(points.seeds, subject.start(points.seeds, points.classes, values[-1]))
    codes = torch.stack([subject.codes(points.seeds, points.classes, psi) for psi in values], dim=1)
    images = subject.images(codes.flatten(0, 1), "truncation")
    Sheet(images, names, [f"psi {shown(psi)}" for psi in values], f"truncation{_of(subject)}").write(out)
    return save_vectors(
        out,
        {"codes": codes.flatten(0, 1)},
        subject.snapshot,
        tool="truncation",
        seeds=points.seeds,
        psi=values,
    )


def interpolate(
    subject: Subject,
    out: Path,
    points: LatentPoints,
    *,
    way: Way,
    steps: int,
    loop: bool,
    per_second: float,
    steady: bool = False,
) -> Path:
    """Interpolates along the points: a strip for each pair of neighbours or, if `out` has the file extension
    of an animation, an animation through all of them. With `steady`, codes follow each other at equal
    distances in a strip or animation. Saves the codes."""
    seeds, start = _paired(subject, points)
    if len(seeds) < 2:
        raise UserError("interpolate: needs two points or more: several --seeds, or several --classes")
    ways = segments(len(seeds), steps, loop=loop)
    moving = is_animation(out)
    if moving:
        # The end of a segment is the start of the next.
        last = ways[-1:] if not loop else []
        ways = [(a, b, t[:-1]) for a, b, t in ways[: len(ways) - len(last)]] + last
        _check_frames(subject, out, sum(len(t) for _, _, t in ways), 1)
    else:
        _check(subject, out, len(ways), steps)
    route = Route(subject, start, points.psi, way)
    flat = [(a, b, t) for a, b, places in ways for t in places]
    if steady and moving:
        flat = route.steady([(a, b) for a, b, _ in ways], len(flat), loop=loop)
    elif steady:
        flat = [place for a, b, _ in ways for place in route.steady([(a, b)], steps, loop=False)]
    codes = route.between(*(list(part) for part in zip(*flat, strict=True)))
    images = subject.images(codes, "interpolate")
    if moving:
        _write_frames(out, images[:, None], per_second)
    else:
        names = subject.names(seeds, start)
        rows = [f"{names[a]} to {names[b]}" for a, b, _ in ways]
        title = f"{_WAYS[way]}{', steady' if steady else ''}{_of(subject)}"
        Sheet(images, rows, [shown(t) for t in ways[0][2]], title).write(out)
    about = {"seeds": seeds, "way": way, "psi": points.psi, "steady": steady}
    return save_vectors(out, {"codes": codes}, subject.snapshot, tool="interpolate", **about)


def corners(subject: Subject, out: Path, points: LatentPoints, *, way: Way, steps: int) -> Path:
    """A grid between four points in its corners. Saves the codes [steps * steps, layers, dim]."""
    seeds, start = _paired(subject, points)
    if len(seeds) != 4:
        raise UserError(f"interpolate --grid: needs 4 points, one for each corner, not {len(seeds)}")
    _check(subject, out, steps, steps)
    places = [i / (steps - 1) for i in range(steps)]
    codes = Route(subject, start, points.psi, way).corners(places, places)
    names = subject.names(seeds, start)
    between = [""] * (steps - 2)
    title = f"{_WAYS[way]}; bottom right: {names[3]}{_of(subject)}"
    rows, columns = [names[0], *between, names[2]], ["", *between, names[1]]
    Sheet(subject.images(codes, "interpolate"), rows, columns, title).write(out)
    about = {"seeds": seeds, "way": way, "psi": points.psi}
    return save_vectors(out, {"codes": codes}, subject.snapshot, tool="interpolate", **about)


def mix(
    subject: Subject, out: Path, rows: LatentPoints, columns: tuple[int, ...], layers: str | None
) -> Path:
    """Style mixing (Karras et al. 2019, figure 3): the images of the row seeds with the styles of `layers`
    taken from the column seeds (None: the upper half of the layers). Saves the codes [rows * columns, layers,
    dim]."""
    count = subject.space.layers
    taken = parse_layers(layers or f"{count // 2}-{count - 1}", count)
    _check(subject, out, len(rows.seeds) + 1, len(columns) + 1)
    first, second = (subject.start(seeds, rows.classes, rows.psi) for seeds in (rows.seeds, columns))
    down, across = subject.map(first, rows.psi), subject.map(second, rows.psi)
    codes = down[:, None].repeat(1, len(columns), 1, 1)
    codes[:, :, list(taken)] = across[None, :, list(taken)]
    images = subject.images(torch.cat([down, across, codes.flatten(0, 1)]), "mix")
    blank = torch.full_like(images[:1], 255)
    n, m = len(rows.seeds), len(columns)
    cells = [blank, images[n : n + m]]
    for i in range(n):
        cells += [images[i : i + 1], images[n + m + i * m : n + m + (i + 1) * m]]
    names, heads = subject.names(rows.seeds, first), subject.names(columns, second)
    title = f"rows, with layers {listed(taken)} of 0-{count - 1} from the columns{_of(subject)}"
    Sheet(torch.cat(cells), ["", *names], ["", *heads], title).write(out)
    about = {"rows": rows.seeds, "columns": columns, "layers": taken, "psi": rows.psi}
    return save_vectors(out, {"codes": codes.flatten(0, 1)}, subject.snapshot, tool="mix", **about)


@dataclass(frozen=True)
class Walk:
    """A walk from codes [N, layers, dim], each with a name, along directions [N, layers, dim]."""

    codes: Tensor
    names: Sequence[str]
    directions: Tensor


def walk(
    subject: Subject,
    out: Path,
    way: Walk,
    strengths: Sequence[float],
    *,
    title: str,
    per_second: float = 10.0,
) -> None:
    """Shows each code plus each strength times its direction: as a sheet with a row for each code or, if
    `out` has the file extension of an animation, as an animation of all of them side by side, there and
    back."""
    count, moving = len(way.codes), is_animation(out)
    if moving:
        _check_frames(subject, out, 2 * len(strengths), count)
    else:
        _check(subject, out, count, len(strengths))
    scale = torch.tensor(list(strengths), device=way.codes.device)[:, None, None]
    moved = way.codes[:, None] + scale * way.directions.to(way.codes.device)[:, None]
    images = subject.images(moved.flatten(0, 1), "walk")
    if moving:
        frames = images.view(count, len(strengths), *images.shape[1:]).transpose(0, 1)
        _write_frames(out, torch.cat([frames, frames.flip(0)[1:-1]]), per_second)
    else:
        columns = [f"{value:+.3g}" if value else "0" for value in strengths]
        Sheet(images, way.names, columns, f"{title}{_of(subject)}").write(out)


def move(
    subject: Subject, out: Path, points: LatentPoints, motion: Motion | Orbit, *, per_second: float = 10.0
) -> None:
    """Shows each point at each place of a motion, of the image or of its camera: as a sheet with a row for
    each point or, if `out` has the file extension of an animation, as an animation of all of them side by
    side. One that does not end where it began goes there and back."""
    seeds, start = _paired(subject, points)
    count, steps, moving = len(seeds), len(motion.names), is_animation(out)
    if moving:
        _check_frames(subject, out, steps if motion.closed else 2 * steps, count)
    else:
        _check(subject, out, count, steps)
    codes = subject.map(start, points.psi)
    images = _along(subject, codes, motion)
    if moving:
        frames = images.transpose(0, 1)
        back = frames[:0] if motion.closed else frames.flip(0)[1:-1]
        _write_frames(out, torch.cat([frames, back]), per_second)
    else:
        names = subject.names(seeds, start)
        Sheet(images.flatten(0, 1), names, motion.names, f"{motion.title}{_of(subject)}").write(out)


def slit(
    subject: Subject, out: Path, points: LatentPoints, over: Motion | Way, *, steps: int, height: float
) -> None:
    """One row of pixels over time, which goes downwards: for each point over a motion, or for each pair of
    neighbours over the steady way between them (after Karras et al. 2021, figure 1). What sticks to its
    pixels makes vertical lines.

    steps: the number of images over time. height: where the row is, from 0 at the top to 1.
    """
    seeds, start = _paired(subject, points)
    names, spec, moving = subject.names(seeds, start), subject.snapshot.spec, isinstance(over, Motion)
    if not moving and len(seeds) < 2:
        raise UserError("slit: needs two points or more to go between: several --seeds, or several --classes")
    columns = names if moving else [f"{a} to {b}" for a, b in pairwise(names)]
    check_sheet(out, 1, len(columns), steps, spec.width)
    line = min(int(height * spec.height), spec.height - 1)
    rows = slice(line, line + 1)
    if isinstance(over, Motion):
        title, images = over.title, _moved(subject, subject.map(start, points.psi), over, rows)
    else:
        route, title = Route(subject, start, points.psi, over), _WAYS[over]
        ends = [route.steady([pair], steps, loop=False) for pair in pairwise(range(len(seeds)))]
        flat = [place for places in ends for place in places]
        codes = route.between(*(list(part) for part in zip(*flat, strict=True)))
        images = subject.images(codes, "slit", rows=rows)
        images = images.view(len(ends), steps, *images.shape[1:])
    pictures = images[:, :, :, 0].transpose(1, 2)  # [columns, C, steps, W]
    Sheet(pictures, [""], columns, f"row {line} of pixels, {title}{_of(subject)}").write(out)


_WAYS: dict[str, str] = {"w": "linear in w", "z": "spherical in z"}


def _moved(subject: Subject, codes: Tensor, motion: Motion, rows: slice = slice(None)) -> Tensor:
    """The images [N, steps, C, H, W] uint8 of codes [N, layers, dim] at each place of a motion."""
    count, steps = len(codes), len(motion.moves)
    moves = motion.moves.repeat(count, 1, 1)
    images = subject.images(codes.repeat_interleave(steps, 0), "motion", moves=moves, rows=rows)
    return images.view(count, steps, *images.shape[1:])


def _along(subject: Subject, codes: Tensor, motion: Motion | Orbit) -> Tensor:
    """The images [N, steps, C, H, W] uint8 of codes [N, layers, dim] at each place of a motion."""
    if isinstance(motion, Orbit):
        return _orbited(subject, codes, motion)
    return _moved(subject, codes, motion)


def _orbited(subject: Subject, codes: Tensor, orbit: Orbit) -> Tensor:
    """The images [N, steps, C, H, W] uint8 of codes [N, layers, dim] from each place of an orbit."""
    space, count, steps = subject.space, len(codes), len(orbit.azimuths)
    assert isinstance(space, OrbitedSpace), "checked by `space_for`"
    seen = space.seen_from(codes.repeat_interleave(steps, 0), orbit.azimuths.repeat(count))
    images = subject.images(seen, "orbit")
    return images.view(count, steps, *images.shape[1:])


def _of(subject: Subject) -> str:
    return f", {subject.snapshot.age}"


def _paired(subject: Subject, points: LatentPoints) -> tuple[tuple[int, ...], Latents]:
    """A point for each seed or each class, whichever are more; a single seed is repeated for several
    classes."""
    count = max(len(points.seeds), len(points.classes))
    seeds = tuple(points.seeds[i % len(points.seeds)] for i in range(count))
    return seeds, subject.start(seeds, points.classes, points.psi)


def _check(subject: Subject, out: Path, rows: int, columns: int) -> None:
    spec = subject.snapshot.spec
    check_sheet(out, rows, columns, spec.height, spec.width)


def _check_frames(subject: Subject, out: Path, frames: int, across: int) -> None:
    spec = subject.snapshot.spec
    scale = factor(spec.height, spec.width)
    check_animation(out, frames, spec.height * scale, spec.width * scale * across)


def _write_frames(out: Path, frames: Tensor, per_second: float) -> None:
    """Writes frames [frames, across, C, H, W] uint8."""
    write_animation(out, [compose_grid(enlarged(frame), len(frame)) for frame in frames], per_second)
