"""The choices of a first run, each with its reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from launch.beginning.equipment import Equipment
from launch.beginning.photographs import Photographs
from launch.options.init import InitOptions
from pipeline.contracts import ImageSpec
from pipeline.errors import UserError
from pipeline.models.first import (
    DEFAULT,
    Conditions,
    First,
    Reasoned,
    first_settings,
    network_settings,
    resolutions,
)
from pipeline.storage.snapshots import Snapshot, open_snapshot

_ON_CPU = 64
_ON_GPUS = ((8, 1024), (4, 512), (1, 256))  # at least so many GPUs: the resolution to begin with
_FEW_A_CLASS = 50
_HOURS, _HOURS_ON_CPU = 24.0, 8.0
FEW, VERY_FEW = 1000, 100


@dataclass(frozen=True)
class Plan:
    """A first run.

    labels: what `hrgan prepare` gets; conditional: whether there are classes then. first: the family's
    settings. advice: what a person should know, a sentence each.
    """

    photos: Photographs
    equipment: Equipment
    config: Path
    family: str
    why_family: str
    resolution: int
    why_resolution: str
    gpus: int
    hours: float
    labels: str
    conditional: bool
    why_labels: str
    first: First
    snapshot: Snapshot | None
    advice: tuple[str, ...]

    @property
    def shards(self) -> Path:
        """The folder of the data set."""
        return self.config.with_name(f"{self.config.stem}-shards")

    @property
    def run(self) -> Path:
        """The folder of the run."""
        return Path("runs") / self.config.stem

    @property
    def spec(self) -> ImageSpec:
        """The format of the data set."""
        classes = len(self.photos.classes) if self.conditional else 0
        return ImageSpec(self.resolution, self.resolution, 1 if self.photos.grey else 3, classes)


def planned(options: InitOptions, photos: Photographs, equipment: Equipment, config: Path) -> Plan:
    """Chooses. UserError for a family, resolution or snapshot that does not go with the rest."""
    snapshot = None if options.source is None else open_snapshot(options.source)
    family = options.family or (snapshot.family.name if snapshot is not None else DEFAULT)
    if snapshot is not None and snapshot.family.name != family:
        raise UserError(
            f"--from {options.source}: is of family {snapshot.family.name}, not {family}; allowed: --family "
            f"{snapshot.family.name}, or a snapshot of {family}"
        )
    here = len(equipment.gpus)
    # A power of two divides every batch; the rest of odd machines is free for evaluation.
    gpus = (1 << here.bit_length() >> 1) if options.gpus is None else options.gpus
    resolution, why = _resolution(options, photos, family, gpus, snapshot)
    conditional, labels, why_labels = _classes(options, photos)
    plan = Plan(
        photos,
        equipment,
        config,
        family,
        _why_family(options, snapshot),
        resolution,
        why,
        gpus,
        options.hours or (_HOURS if gpus else _HOURS_ON_CPU),
        labels,
        conditional,
        why_labels,
        First(None, {}),
        snapshot,
        tuple(_advice(photos, gpus, snapshot)),
    )
    first = first_settings(family, Conditions(plan.spec, photos.count, gpus))
    return replace(plan, first=first if snapshot is None else _transferring(first, snapshot, options))


def _why_family(options: InitOptions, snapshot: Snapshot | None) -> str:
    if options.family is not None:
        return "As asked for."
    if snapshot is not None:
        return "That of the snapshot."
    return "The usual choice: augmentation that adapts lets it learn from few images. --family takes others."


def _resolution(
    options: InitOptions, photos: Photographs, family: str, gpus: int, snapshot: Snapshot | None
) -> tuple[int, str]:
    allowed = resolutions(family, gpus)
    if options.resolution is not None:
        if options.resolution not in allowed:
            place = "GPUs" if gpus else "a CPU"
            raise UserError(
                f"--resolution {options.resolution}: {family} on {place} has settings for a first run at "
                f"{', '.join(map(str, allowed))}"
            )
        return options.resolution, f"As asked for.{_enlarged(photos, options.resolution)}"
    if snapshot is not None and snapshot.spec.height in allowed:
        return snapshot.spec.height, "That of the snapshot, whose weights then all fit."
    if photos.largest < min(allowed):
        return min(allowed), f"The smallest that {family} has settings for.{_enlarged(photos, min(allowed))}"
    machine = next((side for least, side in _ON_GPUS if gpus >= least), _ON_CPU)
    fitting = (side for side in allowed if side <= min(machine, photos.largest))
    side = max(fitting, default=min(allowed))
    why = f"{1 - photos.smaller_than(side):.0%} of the pictures have so many pixels or more."
    if photos.largest > side:
        place = f"{gpus} GPU{'s' * (gpus > 1)}" if gpus else "a CPU"
        why += f" They would allow {photos.largest}, for which {place} would take long (--resolution)."
    return side, why + _enlarged(photos, side)


def _enlarged(photos: Photographs, side: int) -> str:
    share = photos.smaller_than(side)
    return f" {share:.0%} of the pictures are smaller and get enlarged." if share > 0.05 else ""


def _classes(options: InitOptions, photos: Photographs) -> tuple[bool, str, str]:
    """(whether to train with classes, --labels, why)."""
    if photos.hindrance is not None:
        return False, "none", f"No classes: {photos.hindrance}."
    if not photos.classes:
        return False, options.labels, "The pictures have no classes."
    mean = photos.count / len(photos.classes)
    if options.labels == "auto" and mean < _FEW_A_CLASS:
        return (
            False,
            "none",
            f"{len(photos.classes)} classes of {mean:.0f} pictures on average are too few a class to learn "
            "apart; "
            "to train with them all the same: hrgan init with --labels folders.",
        )
    return (
        True,
        options.labels,
        f"With {len(photos.classes)} classes: each image is made for one of them. To train without: "
        "--labels none "
        "for hrgan prepare, and false here.",
    )


def _advice(photos: Photographs, gpus: int, snapshot: Snapshot | None) -> Iterator[str]:
    if photos.count < VERY_FEW:
        yield (
            f"{photos.count} pictures are very few: expect images that repeat them, with small changes. A "
            "few hundred "
            "that show one kind of thing from one distance do better."
        )
    elif photos.count < FEW:
        yield f"{photos.count} pictures are few: samples will be less varied than from some thousands."
    if photos.count < FEW and snapshot is None:
        yield (
            "Begin with a generator of something similar, if there is one: hrgan init with --from SNAPSHOT "
            "(hrgan "
            "import reads published ones)."
        )
    if not gpus:
        yield "On one GPU the same hours would do for 256 pixels and wide networks."


def _transferring(first: First, snapshot: Snapshot, options: InitOptions) -> First:
    """With the shape of the snapshot's networks, and what one does to begin from it."""
    shape: Reasoned = network_settings(snapshot.family)
    if shape:
        key = next(iter(shape))
        shape[key] = (shape[key][0], "As in the snapshot, so that its weights fit.")
    sections: dict[str, dict[str, tuple[Any, str]]] = {
        name: dict(keys) for name, keys in first.sections.items()
    }
    sections["family"] = {**sections.get("family", {}), **shape}
    sections["start"] = {
        "source": (
            str(options.source),
            "Begins with these weights. With few pictures family.freeze_discriminator (StyleGAN2) keeps "
            "some of "
            "the discriminator's layers as they are.",
        )
    }
    return First(first.inherit, sections)
