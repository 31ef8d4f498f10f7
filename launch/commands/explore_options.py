"""What the tools of `hrgan explore` share: options, and what they explore."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from launch.commands.evaluate import Device
from pipeline.errors import UserError

if TYPE_CHECKING:
    from pipeline.exploration.subject import Subject
    from pipeline.exploration.views import Points


class Way(StrEnum):
    """How to go between two latents."""

    w = "w"
    z = "z"


class Into(StrEnum):
    """Where a photograph is looked for: one w for all layers, or one a layer."""

    w = "w"
    w_plus = "w+"


class How(StrEnum):
    """What a projection brings near."""

    auto = "auto"
    lpips = "lpips"
    pixels = "pixels"


Out = Annotated[
    Path,
    typer.Argument(metavar="OUT", help="The picture (.png, .jpg, .webp); its vectors are kept beside it."),
]
Seeds = Annotated[str, typer.Option(metavar="LIST", help="Seeds of images, such as 0-7,12.")]
Psi = Annotated[
    float,
    typer.Option("--truncation", metavar="PSI", help="1: as trained; 0: the average image (of the class)."),
]
Classes = Annotated[
    str | None, typer.Option(help="Class names or numbers in turn, such as 0,3-5; else by the seed.")
]
Layers = Annotated[
    str | None, typer.Option(metavar="LIST", help="Layers, lowest resolution first, such as 4-7.")
]
Strength = Annotated[float, typer.Option(min=0.001, max=1000.0, help="How far, to both sides.")]
Steps = Annotated[int, typer.Option(min=2, max=1000, help="Pictures from one end to the other.")]
PerSecond = Annotated[
    float, typer.Option("--fps", min=1.0, max=50.0, help="Pictures a second of an animation.")
]
Batch = Annotated[int, typer.Option("--batch", min=1, help="Images at once on a GPU.")]
Where = Annotated[Device, typer.Option(help="Where to compute.")]
Moving = Annotated[
    Path,
    typer.Argument(metavar="OUT", help="A picture (.png, .jpg) or animation (.gif, .apng, .webp, .mp4)."),
]


def subject_of(context: typer.Context, batch: int, device: Device, out: Path | None = None) -> Subject:
    """What the tool named by `context` explores. out: a picture that vectors go with. UserError if the
    generator has nothing for the tool, or vectors of another one would be lost."""
    from launch.assembly.sampling import choose_device, sampler_of
    from pipeline.exploration.subject import Subject, space_for
    from pipeline.exploration.vectors import check_vectors
    from pipeline.storage.snapshots import open_snapshot

    if out is not None:
        check_vectors(out, str(context.info_name))
    where, snapshot = choose_device(device.value), open_snapshot(context.obj)
    sampler = sampler_of(snapshot, where)
    space = space_for(str(context.info_name), sampler, snapshot.family.name)
    return Subject(snapshot, space, batch, sys.stderr.isatty())


def points_of(subject: Subject, seeds: str, classes: str | None, psi: float) -> Points:
    """The options of that name, checked."""
    from pipeline.exploration.numbers import parse_seeds, parse_values
    from pipeline.exploration.views import Points

    (checked,) = parse_values(str(psi), "--truncation", -2, 2)
    return Points(parse_seeds(seeds), classes_of(subject, classes), checked)


def classes_of(subject: Subject, classes: str | None) -> tuple[int, ...]:
    """Class numbers; none if the option is not given."""
    from pipeline.generation.classes import parse_classes

    if classes is None:
        return ()
    snapshot = subject.snapshot
    found = parse_classes(classes, snapshot.classes, snapshot.spec.classes)
    if found.weights:
        raise UserError(f"--classes {classes}: takes no weights here; allowed: names, numbers and ranges")
    return found.numbers


def done(out: Path, kept: Path) -> int:
    """Says where everything is."""
    typer.echo(f"{out}; vectors: {kept}")
    return 0
