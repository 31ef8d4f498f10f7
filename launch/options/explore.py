"""Options of the tools of `hrgan explore`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import typer

from launch.options.computing import Device, LpipsFile, VggFile
from pipeline.errors import UserError

Picture = Annotated[
    Path,
    typer.Argument(metavar="OUT", help="The picture (.png, .jpg, .webp); its vectors are kept beside it."),
]
Film = Annotated[
    Path,
    typer.Argument(metavar="OUT", help="A picture (.png, .jpg) or animation (.gif, .apng, .webp, .mp4)."),
]
Plain = Annotated[Path, typer.Argument(metavar="OUT", help="A picture (.png, .jpg, .webp).")]
By = Annotated[
    str,
    typer.Option(metavar="X,Y", help="How far to go, in image widths: to the right and downwards."),
]
Degrees = Annotated[
    float,
    typer.Option(min=-3600.0, max=3600.0, help="How far to turn, in degrees counter-clockwise."),
]
Layers = Annotated[
    str | None,
    typer.Option(metavar="LIST", help="Layers, from the lowest resolution on, such as 4-7."),
]
Strength = Annotated[
    float, typer.Option(min=0.001, max=1000.0, help="How far to go, to both sides of the image.")
]
Steps = Annotated[int, typer.Option(min=2, max=1000, help="Pictures from one end to the other.")]
PerSecond = Annotated[
    float, typer.Option("--fps", min=1.0, max=50.0, help="Pictures a second of an animation.")
]
Classes = Annotated[
    str | None,
    typer.Option(
        help="Names or numbers of classes, taken in turn, such as 0,3-5; without it, seeds draw them."
    ),
]


@dataclass(frozen=True)
class ImageOptions:
    """Which images are explored."""

    seeds: Annotated[str, typer.Option(metavar="LIST", help="Seeds of the images, such as 0-7,12.")] = "0-3"
    classes: Classes = None


@dataclass(frozen=True)
class PointOptions(ImageOptions):
    """Which images, and how near they are to the average one."""

    truncation: Annotated[
        float,
        typer.Option(metavar="PSI", help="1 samples as trained, 0 gives the average image (of the class)."),
    ] = 1.0


@dataclass(frozen=True)
class ComputeOptions:
    """How images are computed."""

    batch: Annotated[int, typer.Option("--batch", min=1, help="Images computed at once on a GPU.")] = 16
    device: Device = "auto"


@dataclass(frozen=True, kw_only=True)
class TruncationOptions:
    """What `hrgan explore RUN truncation` is asked for."""

    out: Picture
    images: ImageOptions = ImageOptions(seeds="0-7")
    psi: Annotated[str, typer.Option(metavar="LIST", help="Truncations, one for each column.")] = (
        "0,0.25,0.5,0.75,1"
    )
    compute: ComputeOptions = ComputeOptions()


@dataclass(frozen=True, kw_only=True)
class InterpolateOptions:
    """What `hrgan explore RUN interpolate` is asked for. UserError for options that do not go together."""

    out: Film
    points: PointOptions = PointOptions()
    way: Annotated[
        Literal["w", "z"],
        typer.Option(help="w goes straight, after the mapping network; z goes on a sphere, before it."),
    ] = "w"
    steps: Steps = 8
    grid: Annotated[
        bool, typer.Option("--grid", help="Fill a square between four points, one at each corner.")
    ] = False
    loop: Annotated[bool, typer.Option("--loop", help="Go from the last point back to the first.")] = False
    steady: Annotated[
        bool,
        typer.Option("--steady", help="Keep one speed: equal distances from picture to picture, in w."),
    ] = False
    fps: PerSecond = 20.0
    compute: ComputeOptions = ComputeOptions()


@dataclass(frozen=True, kw_only=True)
class MixOptions:
    """What `hrgan explore RUN mix` is asked for."""

    out: Picture
    points: PointOptions = PointOptions(seeds="0-4")
    columns: Annotated[
        str, typer.Option(metavar="LIST", help="Seeds whose styles the layers take, one for each column.")
    ] = "10-15"
    layers: Layers = None
    compute: ComputeOptions = ComputeOptions()


@dataclass(frozen=True, kw_only=True)
class WalkOptions:
    """What `hrgan explore RUN walk` is asked for."""

    out: Film
    along: Annotated[Path, typer.Option(metavar="FILE", help="The .safetensors file of a direction.")]
    number: Annotated[int, typer.Option(min=0, help="Which of the directions in the file.")] = 0
    start: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="FILE", help="Codes that a tool has kept, to begin at instead of seeds."
        ),
    ] = None
    strength: Strength = 1.0
    steps: Steps = 7
    fps: PerSecond = 10.0
    points: PointOptions = PointOptions()
    compute: ComputeOptions = ComputeOptions()


@dataclass(frozen=True, kw_only=True)
class TranslateOptions:
    """What `hrgan explore RUN translate` is asked for."""

    out: Film
    points: PointOptions = PointOptions()
    by: By = "0.25,0"
    steps: Steps = 8
    fps: PerSecond = 20.0
    compute: ComputeOptions = ComputeOptions()


@dataclass(frozen=True, kw_only=True)
class RotateOptions:
    """What `hrgan explore RUN rotate` is asked for."""

    out: Film
    points: PointOptions = PointOptions()
    degrees: Degrees = 360.0
    steps: Steps = 8
    fps: PerSecond = 20.0
    compute: ComputeOptions = ComputeOptions()


@dataclass(frozen=True, kw_only=True)
class OrbitOptions:
    """What `hrgan explore RUN orbit` is asked for."""

    out: Film
    points: PointOptions = PointOptions()
    degrees: Annotated[
        float | None,
        typer.Option(
            min=-3600.0, max=3600.0, help="How far to go; without it, over all that was seen in training."
        ),
    ] = None
    steps: Steps = 8
    fps: PerSecond = 20.0
    compute: ComputeOptions = ComputeOptions()


@dataclass(frozen=True, kw_only=True)
class SlitOptions:
    """What `hrgan explore RUN slit` is asked for."""

    out: Plain
    points: PointOptions = PointOptions()
    over: Annotated[
        Literal["interpolate", "translate", "rotate"],
        typer.Option(help="What time does: it goes from seed to seed, or moves each image."),
    ] = "interpolate"
    height: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Where the row is: 0 at the top, 1 at the bottom.")
    ] = 0.5
    by: By = "0.25,0"
    degrees: Degrees = 360.0
    steps: Steps = 128
    compute: ComputeOptions = ComputeOptions()


@dataclass(frozen=True, kw_only=True)
class DirectionOptions:
    """What `hrgan explore RUN direction` is asked for. UserError unless the groups are named in one way."""

    out: Picture
    plus: Annotated[
        str | None,
        typer.Option(help="Seeds of images that have it; or a label of --labels; or a class, with --pairs."),
    ] = None
    minus: Annotated[
        str | None, typer.Option(help="Seeds, label or class of images that do not have it.")
    ] = None
    labels: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A .csv of seed,label or a .json of seeds with their labels."),
    ] = None
    scores: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A .csv or .json of seeds with numbers, such as a classifier's."),
    ] = None
    share: Annotated[
        float,
        typer.Option(help="Share of the seeds with the highest scores, and of those with the lowest."),
    ] = 0.25
    pairs: Annotated[
        int,
        typer.Option(
            min=0, max=100_000, help="Seeds whose images in the classes --plus and --minus are compared."
        ),
    ] = 0
    points: PointOptions = PointOptions()
    layers: Layers = None
    strength: Strength = 1.0
    steps: Steps = 7
    compute: ComputeOptions = ComputeOptions()

    def __post_init__(self) -> None:
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


@dataclass(frozen=True, kw_only=True)
class SefaOptions:
    """What `hrgan explore RUN sefa` is asked for."""

    out: Picture
    count: Annotated[
        int, typer.Option(min=1, max=512, help="How many directions to show, the strongest first.")
    ] = 5
    points: PointOptions = PointOptions(seeds="0")
    layers: Layers = None
    strength: Strength = 3.0
    steps: Steps = 7
    compute: ComputeOptions = ComputeOptions()


@dataclass(frozen=True, kw_only=True)
class ProjectOptions:
    """What `hrgan explore RUN project` is asked for."""

    out: Picture
    photo: Annotated[
        Path,
        typer.Option(metavar="FILE", help="A photograph, which is cropped and resized as prepare does it."),
    ]
    into: Annotated[
        Literal["w", "w+"],
        typer.Option(help="w is one vector for all layers; w+ is one for each, nearer and less editable."),
    ] = "w"
    steps: Annotated[int, typer.Option(min=1, max=100_000, help="Steps of the optimiser.")] = 1000
    noise: Annotated[bool, typer.Option("--noise/--no-noise", help="Find the noise maps as well.")] = True
    distance: Annotated[
        Literal["auto", "lpips", "pixels"],
        typer.Option(help="Distance to make small; auto takes lpips if its weights are there, else pixels."),
    ] = "auto"
    vgg: VggFile = field(default_factory=VggFile)
    lpips: LpipsFile = field(default_factory=LpipsFile)
    classes: Classes = None
    seed: Annotated[int, typer.Option(min=0, help="Seed of the optimiser's random numbers.")] = 0
    device: Device = "auto"
