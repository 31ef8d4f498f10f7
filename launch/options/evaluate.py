"""Options of `hrgan evaluate`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import typer

from launch.options.average import checked_width, position
from launch.options.computing import Device, ExtractorFile, InceptionFile, LpipsFile, Processes, VggFile
from pipeline.data.stores.place import SCHEMES
from pipeline.errors import UserError
from pipeline.evaluation.metrics.registry import PLAIN, counts_help, names_help


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """What `hrgan evaluate` is asked for. UserError for options that do not go together."""

    source: Annotated[
        Path,
        typer.Argument(
            metavar="RUN_OR_DATA",
            help="A snapshot; a run, of which the newest snapshot and the untrained one are measured; or "
            "shards, generated or not.",
        ),
    ]
    data: Annotated[
        str, typer.Option(metavar="SHARDS", help="Shards of real images to compare with, on disk or by URL.")
    ]
    inputs: Annotated[
        str | None,
        typer.Option(
            metavar="SHARDS",
            help="What a model is given that makes images of others, of texts or of scenes; without it, "
            "the samples of --data.",
        ),
    ] = None
    metrics: Annotated[
        str,
        typer.Option(help=f"Any of {names_help()}."),
    ] = ",".join(PLAIN)
    count: Annotated[
        int | None,
        typer.Option(help=f"Images to generate; without it, {counts_help()}."),
    ] = None
    every: Annotated[bool, typer.Option("--all", help="Evaluate every snapshot of the run.")] = False
    watch: Annotated[
        bool,
        typer.Option(
            "--watch", help="Evaluate every snapshot as training writes it, until the run has ended."
        ),
    ] = False
    widths: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Compare averages of these widths, such as 0.01,0.03,0.1, and the family's own, all at one "
            "position of the run; see hrgan average.",
        ),
    ] = None
    at: Annotated[
        str | None,
        typer.Option(
            metavar="IMAGES", help="That position, such as 400k; without it, the newest snapshot's."
        ),
    ] = None
    poll: Annotated[
        float, typer.Option(min=0.1, help="Seconds between two looks for new snapshots with --watch.")
    ] = 20.0
    processes: Processes = 1
    seed: Annotated[int, typer.Option(help="Seed of the patches and directions of swd.")] = 0
    seeds: Annotated[
        int,
        typer.Option(
            min=1, help="Sets of generated images to measure; several give the mean and the spread."
        ),
    ] = 1
    batch: Annotated[int, typer.Option("--batch", "--batch-size", min=1, help="Images computed at once.")] = (
        32
    )
    device: Device = "auto"
    per_class: Annotated[bool, typer.Option("--per-class", help="Measure fid within each class as well.")] = (
        False
    )
    inception: InceptionFile = field(default_factory=InceptionFile)
    extractor: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Features to take instead of each metric's own: inception, vgg16, dinov2, clip, clip-l14, "
            "or your package.module:factory, which is called with the torch.device to compute on.",
        ),
    ] = None
    extractor_file: ExtractorFile = field(default_factory=ExtractorFile)
    ppl_sampling: Annotated[
        Literal["end", "full"],
        typer.Option(help="Measure path lengths at the ends of paths, or all along them."),
    ] = "end"
    ppl_crop: Annotated[
        bool,
        typer.Option(
            "--ppl-crop", help="Measure path lengths in the middle of images, where FFHQ has faces."
        ),
    ] = False
    vgg: VggFile = field(default_factory=VggFile)
    lpips: LpipsFile = field(default_factory=LpipsFile)
    silence: Annotated[
        float,
        typer.Option(min=1, help="Seconds without a sign of life after which a process counts as dead."),
    ] = 60.0
    patience: Annotated[
        float, typer.Option(min=1, help="Minutes for which processes wait for one that is behind.")
    ] = 120.0

    def __post_init__(self) -> None:
        if self.every and self.watch:
            raise UserError("--all and --watch: give one; --watch evaluates all and then waits for more")
        if self.chosen_widths and (self.every or self.watch):
            raise UserError("--widths: compares averages at one position; leave --all and --watch out")
        if self.at is not None and not self.chosen_widths:
            raise UserError("--at: is only used with --widths; add it, or leave this out")
        position(self.at)
        if str(self.source).partition(":/")[0] in SCHEMES and not self.source.exists():
            raise UserError(
                f"{self.source}: lies in a store; what is measured must be on disk, since its figures are "
                "written beside it (--data may be a URL)"
            )

    @property
    def chosen_widths(self) -> tuple[float, ...]:
        """The widths of the averages to compare, from the smallest. UserError for what is no width."""
        if self.widths is None:
            return ()
        try:
            widths = {float(width) for width in self.widths.split(",")}
        except ValueError as error:
            raise UserError(f"--widths {self.widths}: must be numbers, such as 0.01,0.03,0.1") from error
        return tuple(checked_width(width, "--widths") for width in sorted(widths))

    @property
    def scope(self) -> Literal["newest", "all", "watch"]:
        """Which snapshots of a run are meant."""
        return "watch" if self.watch else "all" if self.every else "newest"
