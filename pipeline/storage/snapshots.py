"""Snapshots: an averaged generator with all that is needed to sample from it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from pipeline.config.families import FamilyConfig
from pipeline.config.run import FixtureConfig
from pipeline.contracts import COLOURS, ImageSpec, Stage
from pipeline.errors import Damaged, UserError
from pipeline.reading import checked
from pipeline.storage.atomic import publish_folder, remove_folder
from pipeline.storage.averages import AVERAGES, GENERATOR, KeptAverage
from pipeline.storage.faults import refusal
from pipeline.storage.lineage import Lineage, lineage_details, lineage_of
from pipeline.storage.manifest import (
    MANIFEST,
    Manifest,
    code_version,
    digest_folder,
    read_manifest,
    verify,
)
from pipeline.storage.positions import Position, numbered, numbered_folders
from pipeline.storage.stages import StoredStage
from pipeline.storage.tensors import load_tensors, save_tensors

DISCRIMINATOR = "discriminator.safetensors"
_LARGEST = 1 << 16  # pixels a side, and classes


@dataclass(frozen=True)
class Snapshot:
    """A snapshot on disk whose manifest has been read."""

    folder: Path
    manifest: Manifest
    family: FamilyConfig
    spec: ImageSpec
    classes: tuple[str, ...]
    stage: Stage
    precision: str
    """What the generator was trained in: float32 or bfloat16."""
    fixtures: Mapping[str, FixtureConfig]
    """Files of the frozen networks that the run had."""

    @property
    def lineage(self) -> Lineage:
        """The runs that its run went on from, with other settings up to each one's position; Damaged if that
        cannot be read."""
        return lineage_of(self.manifest, self.folder)

    @property
    def source(self) -> str | None:
        """The name of the file that it was imported from; None for a snapshot of our own."""
        origin = self.manifest.details.get("origin")
        if not isinstance(origin, Mapping) or not origin:
            return None
        return str(origin.get("file", "another project"))

    @property
    def images_seen(self) -> int | None:
        """How many images the run had seen; None where it is not known. Older versions wrote 0 for
        imports."""
        known = self.manifest.images_seen
        return known if known or self.source is None else None

    @property
    def age(self) -> str:
        """How far it was trained, or where it comes from, for people."""
        if self.images_seen is None:
            return f"imported from {self.source}"
        return f"{self.images_seen:,} images seen"

    @property
    def batch_size(self) -> int:
        """The global batch that the generator was trained with, or is assumed to have been, in images."""
        return self.stage.batch_size

    @property
    def digest(self) -> str:
        """The sha256 of the manifest, which in turn holds that of the weights."""
        return hashlib.sha256(self.manifest.to_bytes()).hexdigest()

    def weights(self) -> dict[str, Tensor]:
        """The averaged generator's state, on the CPU, after checking its sha256."""
        try:
            verify(self.folder, (GENERATOR,))
            return load_tensors(self.folder / GENERATOR)
        except Damaged as damage:
            raise refusal(damage, f"damaged snapshot: {damage}") from damage


def write_snapshot(
    run: Path,
    weights: Mapping[str, Tensor],
    *,
    family: FamilyConfig,
    spec: ImageSpec,
    classes: Sequence[str],
    stage: Stage,
    images_seen: int,
    step: int,
    world_size: int,
    config_digest: str,
    data: Mapping[str, Any],
    precision: str = "float32",
    fixtures: Mapping[str, FixtureConfig] | None = None,
    averages: Sequence[KeptAverage] = (),
    lineage: Lineage = (),
) -> Path:
    """Publishes `run`/snapshots/<images>; one that is already whole there is left as it is.

    data: what it was trained on (index digest and origin), for evaluation and data cards. precision: that of
    training, which decides what a low-precision block clamps. fixtures: with the digest of each. averages:
    those kept beside the generator. lineage: of the run.
    """
    folder = numbered(run / "snapshots", images_seen)
    details = _details(
        family, spec, classes, stage, data=dict(data), precision=precision, **lineage_details(lineage)
    )
    if fixtures:
        details["fixtures"] = {name: fixture.model_dump(mode="json") for name, fixture in fixtures.items()}
    if averages:
        details[AVERAGES] = {one.file: one.about for one in averages}
    if not _is_same(folder, details):
        for left in folder.parent.glob(".*.partial"):  # by a killed start: a run has one writer
            remove_folder(left)
        position = Position(images_seen, step, world_size, config_digest)
        beside = {one.file: one.differences for one in averages}
        _publish(folder, {GENERATOR: weights, **beside}, asdict(position), details)
    return folder


def write_averaged(
    folder: Path, weights: Mapping[str, Tensor], of: Snapshot, about: Mapping[str, Any]
) -> None:
    """Publishes `folder` itself as a snapshot like `of`, with another average of the same generator.

    about: how the average was made.
    """
    told = of.manifest
    at = {key: getattr(told, key) for key in ("images_seen", "step", "world_size", "config_digest")}
    _publish(folder, {GENERATOR: weights}, at, _averaged(of, about))


def is_averaged(folder: Path, of: Snapshot, about: Mapping[str, Any]) -> bool:
    """Whether `folder` is what `write_averaged` would publish."""
    return _is_same(folder, _averaged(of, about))


def _averaged(of: Snapshot, about: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in of.manifest.details.items() if key != AVERAGES}
    return {**kept, "average": dict(about)}


def write_imported(
    folder: Path,
    weights: Mapping[str, Tensor],
    *,
    family: FamilyConfig,
    spec: ImageSpec,
    stage: Stage,
    origin: Mapping[str, Any],
    discriminator: Mapping[str, Tensor] | None = None,
) -> None:
    """Publishes `folder` itself as a snapshot of weights that came from elsewhere.

    family: with the fields that the source tells set, and no others. stage: what is computed with; of it only
    the images' resolution is known. origin: file, sha256 and format. discriminator: kept beside, for runs
    that start with it. Errors: UserError if something else stands there; the same import may be repeated.
    """
    classes = [str(number) for number in range(spec.classes)]
    details = {
        **_details(family, spec, classes, stage, data=None, origin=dict(origin)),
        **_known(family, stage),
    }
    groups = {GENERATOR: weights}
    if discriminator is not None:
        groups[DISCRIMINATOR] = discriminator
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        if _is_import(folder, origin, groups):
            return
        raise UserError(f"{folder}: exists and is not this import; allowed: a new or an empty folder")
    _publish(folder, groups, _UNKNOWN, details)


_UNKNOWN = {"images_seen": None, "step": None, "world_size": None, "config_digest": None}
_SHOWS = ("resolution", "fade", "growth")  # of a stage: what a generator's images look like


def _known(family: FamilyConfig, stage: Stage) -> dict[str, Any]:
    """What the source of an import tells of family and stage, with null for the rest. Since null is a value
    of some keys, `unknown` lists the family's keys that nothing is known about."""
    settings, told = family.model_dump(mode="json"), {*family.model_fields_set, "name"}
    conditions = asdict(stage)
    assumed = {key: value for key, value in conditions.items() if key not in _SHOWS}
    return {
        "family": {key: value if key in told else None for key, value in settings.items()},
        "unknown": sorted(settings.keys() - told),
        "stage": {key: conditions[key] if key in _SHOWS else None for key in conditions},
        "assumed": assumed,
    }


def _details(
    family: FamilyConfig, spec: ImageSpec, classes: Sequence[str], stage: Stage, **more: Any
) -> dict[str, Any]:
    return {
        "family": family.model_dump(mode="json"),
        "spec": spec.as_json(),
        "classes": list(classes),
        "stage": asdict(stage),
        **more,
    }


def _publish(
    folder: Path,
    groups: Mapping[str, Mapping[str, Tensor]],
    at: Mapping[str, Any],
    details: Mapping[str, Any],
) -> None:
    with publish_folder(folder) as aside:
        for name, tensors in groups.items():
            save_tensors(aside / name, tensors)
        files = digest_folder(aside)
        manifest = Manifest("snapshot", **at, code=code_version(), files=files, details=details)
        (aside / MANIFEST).write_bytes(manifest.to_bytes())


def _is_same(folder: Path, details: Mapping[str, Any]) -> bool:
    # A resumed run comes by its own snapshots again; rewriting them would change their digest's date
    # for evaluators that are reading them now.
    try:
        return folder.exists() and verify(folder).details == details
    except Damaged:
        return False


def _is_import(folder: Path, origin: Mapping[str, Any], groups: Mapping[str, Any]) -> bool:
    """Whether `folder` is an import of this file, made by any version."""
    try:
        manifest = verify(folder)
    except Damaged:
        return False
    held = manifest.details.get("origin") or {}
    return manifest.files.keys() == groups.keys() and held.get("sha256") == origin["sha256"]


def list_snapshots(run: Path) -> list[Path]:
    """The snapshot folders of a run, oldest first."""
    return numbered_folders(run / "snapshots")


def open_snapshot(path: Path | str) -> Snapshot:
    """A snapshot folder, or the newest snapshot of a run folder. UserError if there is none."""
    folder = Path(path)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; allowed: a snapshot or a run folder")
    if not (folder / MANIFEST).exists():
        snapshots = list_snapshots(folder)
        if not snapshots:
            raise UserError(f"{folder}: neither a snapshot (no {MANIFEST}) nor a run with snapshots")
        folder = snapshots[-1]
    return _read(folder)


def _read(folder: Path) -> Snapshot:
    try:
        manifest = read_manifest(folder)
    except Damaged as damage:
        raise refusal(damage, f"damaged snapshot: {damage}") from damage
    if manifest.kind != "snapshot":
        raise UserError(f"{folder}: a {manifest.kind}; allowed: a snapshot or a run folder")
    try:
        known = _known_details(manifest.details, f"{folder / MANIFEST}: details")
    except Damaged as damage:
        raise UserError(f"{damage}; this version cannot read it") from damage
    return Snapshot(folder, manifest, **{**vars(known), "stage": known.stage.restored()})


@dataclass(frozen=True)
class _Details:
    """The part of a manifest's details that sampling needs."""

    family: FamilyConfig
    spec: ImageSpec
    classes: tuple[Any, ...]  # texts, also those that UTF-8 cannot hold: a folder may be named so
    stage: StoredStage
    precision: Literal["float32", "bfloat16"] = "float32"
    fixtures: Mapping[str, FixtureConfig] = field(default_factory=dict)


@dataclass(frozen=True)
class _Told:
    """What an import does not know: which keys of the family, and the stage that is assumed instead."""

    unknown: tuple[str, ...] = ()
    assumed: Mapping[str, Any] = field(default_factory=dict)
    family: Mapping[str, Any] = field(default_factory=dict)
    stage: Mapping[str, Any] = field(default_factory=dict)


def _known_details(details: Mapping[str, Any], where: str) -> _Details:
    told = checked(_Told, {key: details[key] for key in _names(_Told) & details.keys()}, where)
    known = checked(
        _Details,
        {
            **{name: details[name] for name in _names(_Details) & details.keys()},
            "family": {key: value for key, value in told.family.items() if key not in told.unknown},
            "stage": {**told.stage, **told.assumed},
        },
        where,
    )
    spec = known.spec
    if not (0 < spec.height <= _LARGEST and 0 < spec.width <= _LARGEST and spec.channels in COLOURS):
        raise Damaged(f"{where}: spec: {spec.height}x{spec.width}x{spec.channels} is no image")
    if not all(isinstance(name, str) for name in known.classes):
        raise Damaged(f"{where}: classes: must be a list of names")
    if len(known.classes) != spec.classes or spec.classes > _LARGEST:
        raise Damaged(f"{where}: classes: {len(known.classes)} names of {spec.classes} classes")
    for one in spec.fields:
        if not all(0 < n <= _LARGEST for n in one.shape) or math.prod(one.shape) > _LARGEST**2:
            raise Damaged(f"{where}: spec: field {one.name!r:.40} of shape {list(one.shape)!r:.80}")
    if not 0 < known.stage.batch_size <= _LARGEST:
        raise Damaged(f"{where}: stage: a batch of {known.stage.batch_size} images")
    return known


def _names(schema: type[Any]) -> set[str]:
    return {known.name for known in fields(schema)}
