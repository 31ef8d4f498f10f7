"""The tools of `hrgan explore` that find something: directions, and the latents of a photograph."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from launch.commands.evaluate import Device, LpipsFile, OtherDigest, VggFile
from launch.commands.explore_options import (
    Batch,
    Classes,
    How,
    Into,
    Layers,
    Out,
    Psi,
    Seeds,
    Steps,
    Strength,
    Where,
    classes_of,
    done,
    points_of,
    subject_of,
)
from pipeline.errors import UserError
from pipeline.words import tell

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.exploration.subject import Subject
    from pipeline.exploration.views import Points


@dataclass(frozen=True)
class Asked:
    """The options that name two groups."""

    plus: str | None
    minus: str | None
    labels: Path | None
    scores: Path | None
    share: float
    pairs: int

    def check(self) -> None:
        """UserError unless the groups are named in one way."""
        ways = [self.labels is not None, self.scores is not None, self.pairs > 0]
        if sum(ways) > 1:
            raise UserError("direction: --labels, --scores and --pairs name groups in three ways; give one")
        if self.scores is not None:
            if self.plus is not None or self.minus is not None:
                raise UserError("direction: --scores names both groups; leave --plus and --minus out")
        elif self.plus is None or (self.minus is None and self.labels is None):
            raise UserError(
                "direction: two groups are needed: --plus and --minus (seeds; classes with --pairs; labels "
                "with --labels), or --scores FILE"
            )


def origin_of(subject: Subject, asked: Asked, points: Points) -> tuple[Tensor, str]:
    """The direction that was asked for, [layers, dim], and where it is from."""
    from pipeline.exploration.directions import between_classes, between_groups
    from pipeline.exploration.groups import labelled_groups, listed_groups, scored_groups

    plus, minus = asked.plus or "", asked.minus or ""
    if asked.pairs:
        first, second = (one_class(subject, *end) for end in (("--plus", plus), ("--minus", minus)))
        found = between_classes(subject, first, second, range(asked.pairs), points.psi)
        return found, f"class {plus} less {minus}, {asked.pairs} seeds"
    if asked.scores is not None:
        groups = scored_groups(asked.scores, asked.share)
    elif asked.labels is not None:
        groups = labelled_groups(asked.labels, plus, asked.minus)
    else:
        groups = listed_groups(plus, minus)
    if len(points.classes) > 1:
        raise UserError(
            "--classes: the images of both groups are of one class, or of their seeds' (leave it out)"
        )
    return between_groups(subject, groups, points.classes, points.psi), groups.origin


def one_class(subject: Subject, option: str, text: str) -> int:
    """The number of one class by number or name."""
    try:
        numbers = classes_of(subject, text)
    except UserError as error:
        raise UserError(f"{option}: {str(error).removeprefix('--classes').lstrip(': ')}") from error
    if len(numbers) != 1:
        raise UserError(f"{option} {text}: {len(numbers)} classes; allowed: one")
    return numbers[0]


def direction(
    context: typer.Context,
    out: Out,
    plus: Annotated[
        str | None, typer.Option(help="Seeds that have it; or a label of --labels; or a class, with --pairs.")
    ] = None,
    minus: Annotated[str | None, typer.Option(help="Seeds, label or class without it.")] = None,
    labels: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A .csv of seed,label or a .json of seeds with labels."),
    ] = None,
    scores: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The same with numbers, such as a classifier's.")
    ] = None,
    share: Annotated[float, typer.Option(help="Of the seeds with the highest and the lowest scores.")] = 0.25,
    pairs: Annotated[
        int, typer.Option(min=0, max=100_000, help="Seeds in both of two classes, --plus and --minus.")
    ] = 0,
    seeds: Seeds = "0-3",
    classes: Classes = None,
    layers: Layers = None,
    strength: Strength = 1.0,
    steps: Steps = 7,
    psi: Psi = 1.0,
    batch: Batch = 16,
    device: Where = Device.auto,
) -> int:
    """Latent arithmetic: the way from one group to another.

    The groups are lists of seeds, labels or scores of seeds in a file, or two classes. The direction is
    kept, for `walk`; its length is the distance between the two means.

    \b
    Examples:
      hrgan explore runs/faces direction smile.png --plus 3,8,11-14 --minus 0-2,9
      hrgan explore runs/faces direction smile.png --labels seen.csv --plus smile --minus neutral
      hrgan explore runs/faces direction age.png --scores age.csv --share 0.1
      hrgan explore runs/digits direction to8.png --plus 8 --minus 3 --pairs 500 --seeds 0-5 --classes 3
    """
    from pipeline.exploration.directions import arithmetic

    asked = Asked(plus, minus, labels, scores, share, pairs)
    asked.check()
    subject = subject_of(context, batch, device, out)
    points = points_of(subject, seeds, classes, psi)
    found, origin = origin_of(subject, asked, points)
    kept = arithmetic(
        subject, out, points, found, origin=origin, layers=layers, strength=strength, steps=steps
    )
    return done(out, kept)


def sefa(
    context: typer.Context,
    out: Out,
    count: Annotated[int, typer.Option(min=1, max=512, help="How many directions, strongest first.")] = 5,
    seeds: Seeds = "0",
    layers: Layers = None,
    strength: Strength = 3.0,
    steps: Steps = 7,
    classes: Classes = None,
    psi: Psi = 1.0,
    batch: Batch = 16,
    device: Where = Device.auto,
) -> int:
    """Directions that change images most, from weights (SeFa).

    \b
    Examples:
      hrgan explore runs/faces sefa sefa.png --count 8 --layers 0-5 --seeds 0-1
    """
    from pipeline.exploration.directions import sefa as factorise

    subject = subject_of(context, batch, device, out)
    points = points_of(subject, seeds, classes, psi)
    kept = factorise(subject, out, points, count=count, layers=layers, strength=strength, steps=steps)
    return done(out, kept)


def project(
    context: typer.Context,
    out: Out,
    photo: Annotated[
        Path, typer.Option(metavar="FILE", help="A photograph; cropped and resized as prepare does.")
    ],
    into: Annotated[
        Into, typer.Option(help="w: one for all layers. w+: one a layer, nearer and less editable.")
    ] = Into.w,
    steps: Annotated[int, typer.Option(min=1, max=100_000, help="Steps of the optimiser.")] = 1000,
    noise: Annotated[bool, typer.Option("--noise/--no-noise", help="Find the noise maps too.")] = True,
    distance: Annotated[
        How, typer.Option(help="What is brought near; auto: lpips if its weights are there, else pixels.")
    ] = How.auto,
    vgg_weights: VggFile = None,
    vgg_digest: OtherDigest = None,
    lpips_weights: LpipsFile = None,
    lpips_digest: OtherDigest = None,
    classes: Classes = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the optimiser's random numbers.")] = 0,
    device: Where = Device.auto,
) -> int:
    """Find the latents of a photograph.

    It begins from the mean w; with classes, from the nearest of their means (of --classes, else of all).

    \b
    Examples:
      hrgan explore runs/faces project me.png --photo me.jpg --into w+
    """
    from pipeline.evaluation.features.weights import chosen_perceptual
    from pipeline.exploration.distance import chosen_distance
    from pipeline.exploration.projection import Plan, prepared_photo, show_projection

    weights = chosen_perceptual(vgg_weights, vgg_digest, lpips_weights, lpips_digest)
    subject = subject_of(context, 1, device, out)
    labels, pixels = classes_of(subject, classes), prepared_photo(subject, out, photo)
    chosen, said = chosen_distance(distance.value, weights, subject.snapshot.spec, subject.space.device)
    if said is not None:
        tell(f"hrgan: {said}")
    plan = Plan(into=into.value, steps=steps, noise_weight=1e5 if noise else 0.0, seed=seed, distance=chosen)
    kept, found = show_projection(subject, out, pixels, photo.name, plan, labels)
    mean = "the mean" if found.label is None else f"the mean of class {subject.name_of(found.label)}"
    typer.echo(
        f"distance {found.distance:.4g}, of {mean} {found.distance_of_mean:.4g} (by {plan.distance.name})"
    )
    return done(out, kept)
