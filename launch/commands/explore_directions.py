"""The tools of `hrgan explore` that find something: directions, and the latents of a photograph."""

from __future__ import annotations

import typer

from launch.options.declared import takes_options
from launch.options.explore import DirectionOptions, ProjectOptions, SefaOptions
from pipeline.words import note


@takes_options
def direction(context: typer.Context, options: DirectionOptions) -> int:
    """Find the way from one group of images to another (latent arithmetic).

    The groups are lists of seeds, labels or scores of seeds in a file, or two classes. The direction is
    kept for `walk`; its length is the distance between the means of the two groups.

    \b
    Examples:
      hrgan explore runs/faces direction smile.png --plus 3,8,11-14 --minus 0-2,9
      hrgan explore runs/faces direction smile.png --labels seen.csv --plus smile --minus neutral
      hrgan explore runs/faces direction age.png --scores age.csv --share 0.1
      hrgan explore runs/digits direction to8.png --plus 8 --minus 3 --pairs 500 --seeds 0-5 --classes 3
    """
    from launch.assembly.exploring import direction_of, done, points_of, subject_of
    from pipeline.exploration.directions import arithmetic

    subject = subject_of(context, options.compute, options.out)
    points = points_of(subject, options.points)
    way, origin = direction_of(subject, options, points)
    kept = arithmetic(
        subject,
        options.out,
        points,
        way,
        origin=origin,
        layers=options.layers,
        strength=options.strength,
        steps=options.steps,
    )
    return done(options.out, kept)


@takes_options
def sefa(context: typer.Context, options: SefaOptions) -> int:
    """Find the directions that change images most, from the weights (SeFa).

    \b
    Examples:
      hrgan explore runs/faces sefa sefa.png --count 8 --layers 0-5 --seeds 0-1
    """
    from launch.assembly.exploring import done, points_of, subject_of
    from pipeline.exploration.directions import sefa as factorise

    subject = subject_of(context, options.compute, options.out)
    kept = factorise(
        subject,
        options.out,
        points_of(subject, options.points),
        count=options.count,
        layers=options.layers,
        strength=options.strength,
        steps=options.steps,
    )
    return done(options.out, kept)


@takes_options
def project(context: typer.Context, options: ProjectOptions) -> int:
    """Find the latents of a photograph.

    The search begins at the mean w; with classes, at the nearest of their means (of --classes, or of all).

    \b
    Examples:
      hrgan explore runs/faces project me.png --photo me.jpg --into w+
    """
    from launch.assembly.exploring import classes_of, done, subject_of
    from launch.options.explore import ComputeOptions
    from pipeline.evaluation.features.weights import chosen_perceptual
    from pipeline.exploration.distance import chosen_distance
    from pipeline.exploration.projection import Plan, prepared_photo, show_projection

    out, vgg, lpips = options.out, options.vgg, options.lpips
    weights = chosen_perceptual(vgg.vgg_weights, vgg.vgg_digest, lpips.lpips_weights, lpips.lpips_digest)
    subject = subject_of(context, ComputeOptions(1, options.device), out)
    labels, pixels = classes_of(subject, options.classes), prepared_photo(subject, out, options.photo)
    distance, said = chosen_distance(options.distance, weights, subject.snapshot.spec, subject.space.device)
    if said is not None:
        note(said)
    noise_weight = 1e5 if options.noise else 0.0
    plan = Plan(
        into=options.into,
        steps=options.steps,
        noise_weight=noise_weight,
        seed=options.seed,
        distance=distance,
    )
    kept, projection = show_projection(subject, out, pixels, options.photo.name, plan, labels)
    mean = (
        "the mean" if projection.label is None else f"the mean of class {subject.name_of(projection.label)}"
    )
    before, after = projection.distance_of_mean, projection.distance
    typer.echo(f"distance {after:.4g}, of {mean} {before:.4g} (by {plan.distance.name})")
    return done(out, kept)
