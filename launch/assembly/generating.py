"""From the words of `hrgan generate` to the work, in one process or several."""

from __future__ import annotations

import inspect
import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import torch
import typer

from launch.assembly.judging import Judges
from launch.assembly.operations import prepare_operations
from launch.assembly.sampling import choose_device, sampler_of
from launch.cluster.processes import is_one_of_many, run_ranks
from launch.cluster.srun import place_of
from launch.commands.generate import generate
from pipeline.data.shards.index import ShardIndex
from pipeline.engines.devices import own_device
from pipeline.errors import UserError
from pipeline.evaluation.features.weights import chosen_extractor, chosen_perceptual, chosen_weights
from pipeline.evaluation.plan import PathSettings, Settings
from pipeline.generation.card import About
from pipeline.generation.classes import Classes, classes_like, parse_classes
from pipeline.generation.computing import own_cores
from pipeline.generation.filters import Filters, parse_filters
from pipeline.generation.generate import generate_shards, take_folder
from pipeline.generation.grid import generate_grid
from pipeline.generation.request import Order, Request
from pipeline.images.codec import FormatName, is_picture
from pipeline.storage.snapshots import Snapshot, open_snapshot
from pipeline.words import counted

_EXTRACTOR = "vgg16"  # unless told: realism was defined on it (Kynkaanniemi et al. 2019, section 3)
_OTHER_FILES = (".zip", ".tar", ".gz", ".gif", ".apng", ".mp4", ".mov", ".bmp", ".tif", ".tiff")
_BATCH, _BATCH_ON_CPU = 16, 4  # a CPU computes image by image: small batches are spread better over cores


@dataclass(frozen=True)
class Words:
    """What a person asked for, by option, not yet checked against the snapshot."""

    source: Path
    count: int
    seed: int
    truncation: str
    truncation_order: Order
    classes: str | None
    classes_like: Path | None
    format: FormatName
    quality: int | None
    batch: int | None
    device: Literal["auto", "cpu", "cuda"]
    deterministic: bool
    grid: bool
    licence: str | None
    filter: list[str] | None
    discriminator: Path | None
    reference: Path | None
    neighbours: bool
    most: int | None
    extractor: str
    inception_weights: Path | None
    inception_digest: str | None
    vgg_weights: Path | None
    vgg_digest: str | None
    extractor_weights: Path | None
    extractor_digest: str | None
    command: str

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Words:
        """From the command's parameters by name. UserError for what does not go together."""
        given = {**given, "grid": wants_picture(given["out"], given["grid"])}
        if given["columns"] is not None and not given["grid"]:
            raise UserError("--columns: belongs to one picture; add --grid, or leave it out")
        if given["grid"] and given["processes"] > 1:
            raise UserError("--processes: makes shards; leave it out for one picture (--grid)")
        if given["classes"] is not None and given["classes_like"] is not None:
            raise UserError("--classes and --classes-like: give one")
        if given["deterministic"] and given["batch"] is not None:
            raise UserError("--batch: --deterministic has a batch size of its own; leave one out")
        plain = {name: v.value if isinstance(v, Enum) else v for name, v in given.items()}
        names = {field.name for field in fields(cls)} - {"command"}
        return cls(**{name: plain[name] for name in names}, command=_command(plain))

    def judges(self, snapshot: Snapshot, device: torch.device) -> Judges:
        """What judges the images, not loaded yet."""
        asked = parse_filters(self.filter or ())
        if self.grid and (asked or self.neighbours):
            raise UserError("--filter, --neighbours: make shards; leave them out for one picture (--grid)")
        compares = "realism" in asked or self.neighbours
        if compares and self.reference is None:
            raise UserError(
                "--reference: not given; --filter realism and --neighbours compare with its shards"
            )
        if "discriminator" not in asked and self.discriminator is not None:
            raise UserError(
                "--discriminator: belongs to --filter discriminator:...; add it, or leave this out"
            )
        if not compares and (self.reference is not None or self.extractor != _EXTRACTOR):
            raise UserError(
                "--reference, --extractor: belong to --filter realism:... and --neighbours; "
                "add one, or leave them out"
            )
        if not asked and self.most is not None:
            raise UserError("--most: belongs to --filter; add one, or leave it out")
        extractor = chosen_extractor(self.extractor, self.extractor_weights, self.extractor_digest)
        inception = chosen_weights(self.inception_weights, self.inception_digest)
        vgg = chosen_perceptual(self.vgg_weights, self.vgg_digest, None, None)
        return Judges(
            snapshot,
            device,
            discriminator=(self.discriminator or self.source) if "discriminator" in asked else None,
            reference=self.reference if compares else None,
            settings=Settings(
                (),
                batch_size=1,
                device=device,
                inception=inception,
                extractor=extractor,
                paths=PathSettings(weights=vgg),
            ),
        )

    def request(self, snapshot: Snapshot, judges: Judges) -> Request:
        """The request, checked. UserError for what this snapshot cannot make."""
        classes, device = self._classes(snapshot), judges.device
        return Request(
            snapshot,
            self.count,
            seed=self.seed,
            truncation=parse_truncation(self.truncation),
            order=self.truncation_order,
            classes=classes.numbers,
            weights=classes.weights,
            kind=self.format,
            quality=self.quality,
            batch_size=self.batch or (_BATCH_ON_CPU if device.type == "cpu" else _BATCH),
            device=device,
            deterministic=self.deterministic,
            for_shards=not self.grid,
            filters=self.filters(judges),
        )

    def filters(self, judges: Judges) -> Filters:
        """What is asked of images, with the digests of what judges them."""
        asked = parse_filters(self.filter or ())
        return Filters(**asked, neighbours=self.neighbours, most=self.most, sources=judges.digests)

    def _classes(self, snapshot: Snapshot) -> Classes:
        names, count = snapshot.classes, snapshot.spec.classes
        if self.classes_like is not None:
            if not count:
                raise UserError("--classes-like: this generator was trained without classes; leave it out")
            return classes_like(ShardIndex.read(self.classes_like), names, count)
        return parse_classes(self.classes, names, count) if self.classes is not None else Classes()


def wants_picture(out: Path, grid: bool) -> bool:
    """Whether `out` is one picture: `grid` says so, or its ending does. UserError for what can be
    neither that nor a folder."""
    if grid or out.is_dir():
        return grid
    if is_picture(out):
        return True
    if out.suffix.lower() in _OTHER_FILES or out.exists():
        kind = "is a file" if out.exists() else f"no {out.suffix} is made here"
        raise UserError(
            f"{out}: {kind}; allowed: a folder's name for shards (hrgan export makes a .zip of them), or one "
            "that ends in .png, .jpg or .webp for a picture"
        )
    return False


def _command(given: Mapping[str, Any]) -> str:
    """What makes the same data set again, in one process: the options that are not as they are anyway."""
    words = ["hrgan", "generate", str(given["source"]), str(given["out"])]
    for name, parameter in inspect.signature(generate).parameters.items():
        flag, value = f"--{name.replace('_', '-')}", given[name]
        if name in ("source", "out", "processes") or value == parameter.default:
            continue
        if isinstance(value, list):
            words += [word for one in value for word in (flag, one)]
        else:
            words += [flag] if value is True else [flag, str(value)]
    return shlex.join(words)


def parse_truncation(text: str) -> float | tuple[float, ...]:
    """`"0.7"` -> 0.7, `"0.5,0.7,1"` -> (0.5, 0.7, 1.0)."""
    try:
        psis = tuple(float(word) for word in text.split(","))
    except ValueError as error:
        raise UserError(
            f"--truncation {text}: must be a number, or several such as 0.5,0.7,1 (no spaces)"
        ) from error
    return psis if len(psis) > 1 else psis[0]


def make_picture(words: Words, out: Path, columns: int | None) -> int:
    """One picture of all images at `out`; returns the exit code."""
    snapshot = open_snapshot(words.source)
    request = words.request(snapshot, words.judges(snapshot, choose_device(words.device)))
    progress = sys.stderr.isatty()
    generate_grid(
        request, lambda: sampler_of(snapshot, request.device), out, columns=columns, progress=progress
    )
    typer.echo(f"{out}: {counted(request.count, 'image')}")
    return 0


def make_shards(words: Words, out: Path, shard_size: int, processes: int) -> int:
    """Shards in `out`; returns the exit code.

    processes: to start on this machine; ignored in a process that already is one of many.
    """
    snapshot = open_snapshot(words.source)
    judges = words.judges(snapshot, _own(choose_device(words.device)))
    request = words.request(snapshot, judges)
    if processes > 1 and not is_one_of_many() and not take_folder(request, out, shard_size).complete:
        prepare_operations("auto", words.device)
        return run_ranks(sys.argv[1:], processes, spare=True)
    place = place_of(os.environ)
    index = generate_shards(
        request,
        lambda: sampler_of(snapshot, request.device),
        out,
        shard_size=shard_size,
        make_panel=lambda: judges.panel(request.filters, out),
        about=About(words.command, words.licence),
        cores=own_cores(place.beside),
        progress=place.first and sys.stderr.isatty(),
    )
    if place.first:
        typer.echo(f"{out}: {counted(index.count, 'image')} in {counted(len(index.shards), 'shard')}")
    return 0


def _own(device: torch.device) -> torch.device:
    """This process's one of several devices."""
    if device.type != "cuda":
        return device
    return own_device(place_of(os.environ).local_rank)
