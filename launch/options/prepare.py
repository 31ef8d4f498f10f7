"""Options of `hrgan prepare`."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipeline.data.sources.known import source_words
from pipeline.data.sources.labels import ALLOWED
from pipeline.errors import UserError
from pipeline.images.kinds import KINDS

if TYPE_CHECKING:
    from pipeline.data.preparing.settings import Asked

OnFault = Literal["skip", "error"]
_CHANGING = (
    *("filter", "fit", "align", "range", "background", "alpha", "format", "quality", "shard_size", "seed"),
    *("count", "min_side", "max_aspect", "min_sharpness", "duplicates", "duplicate_bits", "hold_out"),
    *("on_absent", "class_names", "caption_column", "image_column", "every", "follow_links", "no_report"),
    *("pairs", "maps", "fields"),
)
"""Options that have no meaning for shards that stay as they are."""


@dataclass(frozen=True, kw_only=True)
class PrepareOptions:
    """What `hrgan prepare` is asked for. UserError for a size or a range that is none."""

    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help=f"Pictures: {source_words()}. Kinds of pictures in files: "
            f"{', '.join(kind.name for kind in KINDS)}.",
        ),
    ]
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder of the data set: shards and their index.json.")
    ]
    resolution: Annotated[
        int | None, typer.Option(help="Pixels a side; without it, the size that all pictures share.")
    ] = None
    size: Annotated[
        str | None,
        typer.Option(
            metavar="HxW",
            help="Height and width of pictures that are not square, such as 256x192 for upright ones. The "
            "families biggan, graf, progan and stylegan3 need squares, by --resolution.",
        ),
    ] = None
    fit: Annotated[
        Literal["crop", "pad", "stretch"],
        typer.Option(
            help="How pictures of another shape come to this one: cut around their centre, with borders of "
            "the colour of --background, or distorted."
        ),
    ] = "crop"
    align: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Cut out faces as FFHQ does, by the landmarks in FILE: ffhq-dataset-v2.json, CelebA's "
            "list_landmarks_celeba.txt, or a table with the name and 3, 4, 5 or 68 points of each picture. "
            "Pictures that are not in it are left out.",
        ),
    ] = None
    grey: Annotated[bool, typer.Option("--grey", help="Keep one channel instead of three.")] = False
    alpha: Annotated[
        bool,
        typer.Option(
            "--alpha", help="Keep transparency as a fourth channel; for --format png, or webp at quality 100."
        ),
    ] = False
    min_side: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Leave out pictures whose shorter side has less pixels; without it, they are enlarged.",
        ),
    ] = None
    max_aspect: Annotated[
        float | None,
        typer.Option(
            metavar="A", help="Leave out pictures whose longer side is more than A times the shorter one."
        ),
    ] = None
    min_sharpness: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="Leave out images whose Laplacian has a variance below X; 0 leaves out none, and the report "
            "says how sharp they are.",
        ),
    ] = None
    duplicates: Annotated[
        Literal["keep", "report", "drop"],
        typer.Option(
            help="What to do about near-duplicates, told by hashes of 64 bits: report names them, drop "
            "leaves out all but the first. Both read every picture twice."
        ),
    ] = "keep"
    duplicate_bits: Annotated[
        int, typer.Option(min=0, max=8, help="Bits in which near-duplicates may differ.")
    ] = 2
    filter: Annotated[
        Literal["box", "bilinear", "bicubic", "lanczos"],
        typer.Option(help="Resize filter. It changes FID, so use the same one for all sets."),
    ] = "lanczos"
    labels: Annotated[
        str,
        typer.Option(
            metavar="auto|folders|folders:2|none|FILE",
            help="Where classes come from. auto: what the source brings along (dataset.json, metadata.csv, "
            ".cls, columns), else its top folders, unless they look like splits or blocks. folders: those in "
            f"any case; folders:2: the folders in them. FILE: a name and a class in each row; {ALLOWED}.",
        ),
    ] = "auto"
    label_column: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Column of FILE with the classes, by its title or its number from 1; or of a table, or "
            "which labels of a source that has several.",
        ),
    ] = None
    caption_column: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Column with texts, which become the field `text` of each picture: of FILE, of the table "
            "that the source brings along or is, or in tars txt or a key of the .json.",
        ),
    ] = None
    pairs: Annotated[
        str | None,
        typer.Option(
            metavar="INPUTS|left|right",
            help="Pairs for models that make images of images: SOURCE has what they are to make, INPUTS, a "
            "source of any kind, what they make it of, under the same names. left, right: pictures hold both "
            "side by side, and this half is the input. It becomes the field `input`.",
        ),
    ] = None
    unpaired: Annotated[
        str | None,
        typer.Option(
            metavar="SECOND",
            help="A second source, for models that learn from two sets without pairs. By the same options "
            "SOURCE becomes OUT/first, for data.path, and SECOND becomes OUT/second, for data.second.",
        ),
    ] = None
    maps: Annotated[
        str | None,
        typer.Option(
            metavar="MAPS",
            help="A source of label maps under the same names, pictures of one channel whose values are "
            "codes. They become the field `map`.",
        ),
    ] = None
    class_names: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="What classes are called: a row for each with the class as it is found and a name, such as "
            "ImageNet's LOC_synset_mapping.txt, or for numbers a name a line.",
        ),
    ] = None
    image_column: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Column of a table with the pictures, where it has several."),
    ] = None
    every: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="Seconds between frames taken of a video; 0 takes all."),
    ] = 1.0
    fields: Annotated[
        str | None,
        typer.Option(
            metavar="edges,parts,text,scene",
            help="Of demo:faces, what is stored beside each portrait: its contours, a mask of its parts, a "
            "sentence about it, a graph of its objects. One or several, with commas.",
        ),
    ] = None
    on_absent: Annotated[
        OnFault,
        typer.Option(help="What to do about a row of FILE whose picture is not in SOURCE: skip it, or stop."),
    ] = "error"
    follow_links: Annotated[
        bool,
        typer.Option(
            "--follow-links", help="In a folder, follow links to folders and links that lead out of it, too."
        ),
    ] = False
    range: Annotated[
        str | None,
        typer.Option(
            metavar="LOW:HIGH",
            help="Values that become black and white in pictures with more than 8 bits; without it, 0:65535.",
        ),
    ] = None
    background: Annotated[
        str,
        typer.Option(metavar="COLOUR", help="Colour behind transparent parts: a name, or #rrggbb."),
    ] = "white"
    format: Annotated[
        Literal["png", "jpg", "webp"], typer.Option(help="Format of the pictures in the shards.")
    ] = "png"
    quality: Annotated[
        int, typer.Option(min=1, max=100, help="Quality of jpg and webp; webp at 100 is lossless.")
    ] = 95
    shard_size: Annotated[int, typer.Option(min=1, help="Pictures in each shard.")] = 1000
    seed: Annotated[int, typer.Option(help="Seed of the shuffle, and of demo:faces.")] = 0
    count: Annotated[
        int | None, typer.Option(min=1, help="Take at most this many pictures, drawn by the seed.")
    ] = None
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; without it, one a core.")] = None
    on_unreadable: Annotated[
        OnFault, typer.Option(help="What to do about a file that cannot be read: name and skip it, or stop.")
    ] = "skip"
    pyramid: Annotated[
        bool,
        typer.Option("--pyramid", help="Make every lower resolution as well, for networks that grow."),
    ] = False
    in_place: Annotated[
        bool,
        typer.Option(
            "--in-place",
            help="SOURCE is a folder of WebDataset shards by others (or a pattern such as a/{000..127}.tar), "
            "which are indexed in OUT and read where they lie, without a copy. OUT may be SOURCE. All images "
            "must have the size, and be mixed by class.",
        ),
    ] = False
    hold_out: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE",
            help="Share of pictures, such as 2%, that make a data set of their own, OUT/held-out. Which they "
            "are follows from their pixels, so that copies stay together and others change nothing.",
        ),
    ] = None
    no_report: Annotated[
        bool, typer.Option("--no-report", help="Make no OUT/report, a page with counts and samples.")
    ] = False

    @property
    def sets(self) -> tuple[PrepareOptions, ...]:
        """What each data set is asked for: this one, or with `unpaired` its two."""
        if self.unpaired is None:
            return (self,)
        first = replace(self, out=self.out / "first", unpaired=None)
        return first, replace(first, source=self.unpaired, out=self.out / "second")

    def check(self) -> None:
        """Raises UserError for options that have no meaning together."""
        if self.unpaired is not None and self.pairs is not None:
            raise UserError("--pairs: not with --unpaired, whose two sets have no pairs")
        for option in _CHANGING if self.in_place else ():
            if getattr(self, option) != getattr(type(self), option):
                flag = option.replace("_", "-")
                raise UserError(f"--{flag}: not with --in-place, which leaves shards as they are")

    @property
    def asked(self) -> Asked:
        """What is asked of the data set itself; UserError for a size or a range that is none."""
        from pipeline.data.preparing.choosing import Choice
        from pipeline.data.preparing.settings import Asked

        height, width = self.height_width
        return Asked(
            resolution=self.resolution,
            height=height,
            width=width,
            channels=self.channels,
            filter=self.filter,
            labels=self.labels,
            label_column=self.label_column,
            caption_column=self.caption_column,
            image_column=self.image_column,
            every=self.every,
            class_names=self.class_names,
            on_absent=self.on_absent,
            follow_links=self.follow_links,
            range=self.low_high,
            background=self.background,
            format=self.format,
            quality=self.quality,
            shard_size=self.shard_size,
            seed=self.seed,
            count=self.count,
            on_unreadable=self.on_unreadable,
            pyramid=self.pyramid,
            hold_out=self.held_out_share,
            fit=self.fit,
            align=self.align,
            choice=Choice(self.min_side, self.max_aspect, self.min_sharpness),
            duplicates=self.duplicates,
            duplicate_bits=self.duplicate_bits,
            pairs=self.pairs,
            maps=self.maps,
            fields=tuple(name.strip() for name in self.fields.split(",")) if self.fields is not None else (),
        )

    @property
    def channels(self) -> int:
        """1, 3 or 4; UserError if both 1 and 4 are asked for."""
        if self.grey and self.alpha:
            raise UserError("--alpha: keeps four channels, and --grey one; give one of them")
        return 1 if self.grey else 4 if self.alpha else 3

    @property
    def height_width(self) -> tuple[int | None, int | None]:
        """`size` in pixels."""
        if self.size is None:
            return None, None
        match = re.fullmatch(r"(\d+)[xX×](\d+)", self.size.strip())
        if not match:
            raise UserError(f"--size {self.size}: must be HEIGHTxWIDTH in pixels, such as 256x192")
        return int(match[1]), int(match[2])

    @property
    def held_out_share(self) -> float:
        """`hold_out` as a number of 0 to 1."""
        if self.hold_out is None:
            return 0.0
        number, percent, _ = self.hold_out.strip().partition("%")
        try:
            share = float(number) / (100 if percent else 1)
        except ValueError:
            share = -1.0
        if not 0 < share < 1:
            raise UserError(f"--hold-out {self.hold_out}: must be a share of all, such as 2% or 0.02")
        return share

    @property
    def low_high(self) -> tuple[float, float] | None:
        """`range` as numbers."""
        if self.range is None:
            return None
        low, _, high = self.range.partition(":")
        try:
            return float(low), float(high)
        except ValueError as error:
            raise UserError(
                f"--range {self.range}: must be LOW:HIGH, such as 0:4095 or -1000:3000"
            ) from error
