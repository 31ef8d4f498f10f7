"""Options of `hrgan generate`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import typer

from launch.options.computing import Device, ExtractorFile, InceptionFile, Processes, VggFile
from pipeline.errors import UserError

_OTHER_FILES = (".zip", ".tar", ".gz", ".gif", ".apng", ".mp4", ".mov", ".bmp", ".tif", ".tiff")
EXTRACTOR = "vgg16"
"""Realism was defined on its features (Kynkaanniemi et al. 2019, section 3)."""


@dataclass(frozen=True, kw_only=True)
class GenerateOptions:
    """What `hrgan generate` is asked for. UserError for options that do not go together."""

    source: Annotated[
        Path,
        typer.Argument(metavar="SNAPSHOT_OR_RUN", help="A snapshot, or a run: its newest snapshot."),
    ]
    out: Annotated[
        Path,
        typer.Argument(metavar="OUT", help="A folder for shards, or one picture (.png, .jpg, .webp)."),
    ]
    count: Annotated[int, typer.Option(min=1, help="How many images to make.")]
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the first image; image i has the seed SEED + i.")
    ] = 0
    truncation: Annotated[
        str,
        typer.Option(
            metavar="PSI",
            help="1 samples as trained, 0 gives the average image (of the class); several, such as "
            "0.5,0.7,1, share the images.",
        ),
    ] = "1"
    truncation_order: Annotated[
        Literal["sequence", "mixed"],
        typer.Option(help="How several truncations share the images: one after another, or in turn."),
    ] = "sequence"
    classes: Annotated[
        str | None,
        typer.Option(
            help="Names or numbers of classes, taken in turn (0,3-5,cat or all) or drawn by weight "
            "(cat:3,dog:1). Without it, each image's seed draws its class."
        ),
    ] = None
    classes_like: Annotated[
        str | None, typer.Option(metavar="SHARDS", help="Draw classes as often as these shards have them.")
    ] = None
    text: Annotated[
        list[str],
        typer.Option(
            "--text",
            metavar="TEXT",
            help="What a model of texts is to draw. May be repeated; images take the texts in turn.",
        ),
    ] = field(default_factory=list)
    texts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The same, from a file of UTF-8 with a text in each line."),
    ] = None
    inputs: Annotated[
        str | None,
        typer.Option(
            metavar="SHARDS",
            help="What a model is given that makes images of others, of texts or of scenes: image i is made "
            "of sample SEED + i, from the first on again after the last.",
        ),
    ] = None
    format: Annotated[
        Literal["png", "jpg", "webp"], typer.Option(help="Format of the images in the shards.")
    ] = "png"
    quality: Annotated[
        int | None,
        typer.Option(min=1, max=100, help="Quality of jpg (95 if not given) and webp (90; 100 is lossless)."),
    ] = None
    grid: Annotated[
        bool,
        typer.Option("--grid", help="Make one picture of all images; implied if OUT is a picture's name."),
    ] = False
    columns: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Columns of the picture; without it, one for each class, or about as many as rows.",
        ),
    ] = None
    shard_size: Annotated[int, typer.Option(min=1, help="Images in each shard.")] = 1000
    batch: Annotated[
        int | None,
        typer.Option(
            "--batch", "--batch-size", min=1, help="Images computed at once; 16 on a GPU, 4 on a CPU."
        ),
    ] = None
    device: Device = "auto"
    deterministic: Annotated[
        bool,
        typer.Option(
            "--deterministic", help="Make the same bits on a GPU whatever the batch size, which is slower."
        ),
    ] = False
    processes: Processes = 1
    licence: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Licence of the images for the data card, such as CC-BY-4.0."),
    ] = None
    filter: Annotated[
        list[str],
        typer.Option(
            "--filter",
            metavar="NAME:VALUE",
            help="Keep only images that pass: discriminator:LOGIT, realism:SCORE (either may be a share to "
            "keep, such as 50%) or duplicates:BITS. May be repeated.",
        ),
    ] = field(default_factory=list)
    discriminator: Annotated[
        Path | None,
        typer.Option(
            "--discriminator",
            metavar="RUN",
            help="Run, checkpoint or snapshot with the discriminator to filter by; without it, "
            "SNAPSHOT_OR_RUN's.",
        ),
    ] = None
    reference: Annotated[
        str | None,
        typer.Option(metavar="SHARDS", help="Training images, for --filter realism and --neighbours."),
    ] = None
    neighbours: Annotated[
        bool, typer.Option("--neighbours", help="List and show each image's nearest training images.")
    ] = False
    most: Annotated[
        int | None,
        typer.Option(min=1, help="Candidates to draw at most with --filter; without it, 20 for each image."),
    ] = None
    extractor: Annotated[
        str,
        typer.Option(
            "--extractor",
            metavar="NAME",
            help="Features to compare images by: one of those of hrgan evaluate, or pixels.",
        ),
    ] = EXTRACTOR
    inception: InceptionFile = field(default_factory=InceptionFile)
    vgg: VggFile = field(default_factory=VggFile)
    extractor_file: ExtractorFile = field(default_factory=ExtractorFile)

    def __post_init__(self) -> None:
        if self.columns is not None and not self.is_picture:
            raise UserError("--columns: only one picture has columns; add --grid, or leave it out")
        if self.is_picture and self.processes > 1:
            raise UserError("--processes: several make shards only; leave it out for one picture (--grid)")
        if self.classes is not None and self.classes_like is not None:
            raise UserError("--classes and --classes-like: give only one of them")
        if self.text and self.texts is not None:
            raise UserError("--text and --texts: give only one of them")
        if self.inputs is not None and (self.text or self.texts is not None):
            raise UserError("--inputs and --text, --texts: give only one of them")
        if self.deterministic and self.batch is not None:
            raise UserError("--batch: --deterministic fixes the batch size itself; leave one of them out")

    @property
    def is_picture(self) -> bool:
        """Whether to make one picture of all images, as `--grid` or the ending of OUT says. UserError for an
        OUT that can be neither that nor a folder."""
        from pipeline.images.codec import is_picture

        out = self.out
        if self.grid or out.is_dir():
            return self.grid
        if is_picture(out):
            return True
        if out.suffix.lower() in _OTHER_FILES or out.exists():
            fault = "is a file" if out.exists() else f"no {out.suffix} is made here"
            raise UserError(
                f"{out}: {fault}; allowed: a folder's name for shards (hrgan export makes a .zip of them), "
                "or one that ends in .png, .jpg or .webp for a picture"
            )
        return False
