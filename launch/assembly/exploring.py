"""`hrgan explore`: from its options to what its tools explore."""

from __future__ import annotations

import sys
from pathlib import Path

import typer
from torch import Tensor

from launch.assembly.sampling import choose_device, sampler_of
from launch.options.explore import ComputeOptions, DirectionOptions, ImageOptions, PointOptions
from pipeline.errors import UserError
from pipeline.exploration.directions import between_classes, between_groups
from pipeline.exploration.groups import labelled_groups, listed_groups, scored_groups
from pipeline.exploration.motions import Motion, Orbit, orbit, translation
from pipeline.exploration.numbers import parse_seeds, parse_values
from pipeline.exploration.subject import Subject, space_for
from pipeline.exploration.vectors import check_vectors
from pipeline.exploration.views import LatentPoints
from pipeline.generation.classes import parse_classes
from pipeline.latents import OrbitedSpace
from pipeline.storage.snapshots import open_snapshot


def subject_of(
    context: typer.Context, compute: ComputeOptions, out: Path | None = None, tool: str | None = None
) -> Subject:
    """What the tool named by `context` explores. `out` is a picture beside which vectors will be saved;
    `tool` another whose needs it has. UserError if the generator lacks what the tool needs, or if another
    tool's vectors would be overwritten."""
    if out is not None:
        check_vectors(out, str(context.info_name))
    device, snapshot = choose_device(compute.device), open_snapshot(context.obj)
    sampler = sampler_of(snapshot, device)
    space = space_for(tool or str(context.info_name), sampler, snapshot.family.name)
    return Subject(snapshot, space, compute.batch, sys.stderr.isatty())


def points_of(subject: Subject, options: ImageOptions) -> LatentPoints:
    """The points that the options describe, checked."""
    psi = 1.0
    if isinstance(options, PointOptions):
        (psi,) = parse_values(str(options.truncation), "--truncation", -2, 2)
    return LatentPoints(parse_seeds(options.seeds), classes_of(subject, options.classes), psi)


def translation_by(text: str, steps: int) -> Motion:
    """The motion that `--by` describes."""
    values = parse_values(text, "--by", -4, 4)
    if len(values) != 2:
        raise UserError(f"--by {text}: allowed: two numbers, to the right and downwards, such as 0.25,0")
    return translation(*values, steps)


def orbit_by(subject: Subject, degrees: float | None, steps: int) -> Orbit:
    """The orbit that `--degrees` describes, over all azimuths of training without it."""
    assert isinstance(subject.space, OrbitedSpace), "checked by `space_for`"
    first, last = subject.space.azimuths
    return orbit(first, last - first if degrees is None else degrees, steps)


def classes_of(subject: Subject, classes: str | None) -> tuple[int, ...]:
    """Class numbers; none if the option is not given."""
    if classes is None:
        return ()
    snapshot = subject.snapshot
    chosen = parse_classes(classes, snapshot.classes, snapshot.spec.classes)
    if chosen.weights:
        raise UserError(f"--classes {classes}: takes no weights here; allowed: names, numbers and ranges")
    return chosen.numbers


def direction_of(subject: Subject, options: DirectionOptions, points: LatentPoints) -> tuple[Tensor, str]:
    """The requested direction, [layers, dim], and where it comes from in words."""
    plus, minus = options.plus or "", options.minus or ""
    if options.pairs:
        first, second = (_one_class(subject, *end) for end in (("--plus", plus), ("--minus", minus)))
        way = between_classes(subject, first, second, range(options.pairs), points.psi)
        return way, f"class {plus} less {minus}, {options.pairs} seeds"
    if options.scores is not None:
        groups = scored_groups(options.scores, options.share)
    elif options.labels is not None:
        groups = labelled_groups(options.labels, plus, options.minus)
    else:
        groups = listed_groups(plus, minus)
    if len(points.classes) > 1:
        raise UserError("--classes: allowed: one class for both groups, or none, and each seed draws its own")
    return between_groups(subject, groups, points.classes, points.psi), groups.origin


def _one_class(subject: Subject, option: str, text: str) -> int:
    """The number of a class that is given by number or name."""
    try:
        numbers = classes_of(subject, text)
    except UserError as error:
        raise UserError(f"{option}: {str(error).removeprefix('--classes').lstrip(': ')}") from error
    if len(numbers) != 1:
        raise UserError(f"{option} {text}: {len(numbers)} classes; allowed: one")
    return numbers[0]


def done(out: Path, kept: Path) -> int:
    """Reports where the picture and the vectors are."""
    typer.echo(f"{out}; vectors: {kept}")
    return 0
