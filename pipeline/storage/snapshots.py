"""Snapshots: an averaged generator with all that is needed to sample from it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from pipeline.config.families import FamilyConfig
from pipeline.contracts import ImageSpec, Stage
from pipeline.errors import UserError
from pipeline.storage.atomic import publish_folder, remove_folder
from pipeline.storage.manifest import (
    MANIFEST,
    Damaged,
    Manifest,
    code_version,
    digest_folder,
    read_manifest,
    verify,
)
from pipeline.storage.positions import Position, numbered, numbered_folders
from pipeline.storage.tensors import load_tensors, save_tensors

GENERATOR = "generator.safetensors"
DISCRIMINATOR = "discriminator.safetensors"


@dataclass(frozen=True)
class Snapshot:
    """A snapshot on disk whose manifest has been read."""

    folder: Path
    manifest: Manifest
    family: FamilyConfig
    spec: ImageSpec
    classes: tuple[str, ...]

    @property
    def source(self) -> str | None:
        """The name of the file that it was imported from; None for one of our own."""
        origin = self.manifest.details.get("origin")
        return str(origin.get("file", "another project")) if origin else None

    @property
    def images_seen(self) -> int | None:
        """None where it is not known: imports of earlier versions say 0."""
        known = self.manifest.images_seen
        return known if known or self.source is None else None

    @property
    def age(self) -> str:
        """For people: how far it was trained, or where it is from."""
        if self.images_seen is None:
            return f"imported from {self.source}"
        return f"{self.images_seen:,} images seen"

    @property
    def stage(self) -> Stage:
        """What an import does not know of it is what is computed with (`assumed`)."""
        details = self.manifest.details
        return Stage(**{**details["stage"], **details.get("assumed", {})})

    @property
    def batch_size(self) -> int:
        """Global batch that the generator was trained with, or is taken to have been, in images."""
        return self.stage.batch_size

    @property
    def precision(self) -> str:
        """What the generator was trained in: float32 or bfloat16."""
        return str(self.manifest.details.get("precision", "float32"))

    @property
    def digest(self) -> str:
        """sha256 of the manifest, which holds the sha256 of the weights."""
        return hashlib.sha256(self.manifest.to_bytes()).hexdigest()

    def weights(self) -> dict[str, Tensor]:
        """The averaged generator's state, on the CPU, after checking its sha256."""
        try:
            verify(self.folder)
            return load_tensors(self.folder / GENERATOR)
        except Damaged as damage:
            raise UserError(f"damaged snapshot: {damage}") from damage


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
) -> Path:
    """Publishes `run`/snapshots/<images>; one that is already whole there is left as it is.

    data: what it was trained on (index digest and origin), for evaluation and data cards. precision: that of
    training, which decides what a low-precision block clamps.
    """
    folder = numbered(run / "snapshots", images_seen)
    details = _details(family, spec, classes, stage, data=dict(data), precision=precision)
    if not _is_same(folder, details):
        for left in folder.parent.glob(".*.partial"):  # by a killed start: a run has one writer
            remove_folder(left)
        position = Position(images_seen, step, world_size, config_digest)
        _publish(folder, {GENERATOR: weights}, asdict(position), details)
    return folder


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
    """What a source tells of family and stage, null for the rest; `unknown` lists the family's keys of which
    nothing is known, since null is a setting of some."""
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
        "spec": asdict(spec),
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
    """Whether `folder` is an import of this file, by whatever version."""
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
        found = list_snapshots(folder)
        if not found:
            raise UserError(f"{folder}: neither a snapshot (no {MANIFEST}) nor a run with snapshots")
        folder = found[-1]
    return _read(folder)


def _read(folder: Path) -> Snapshot:
    try:
        manifest = read_manifest(folder)
    except Damaged as damage:
        raise UserError(f"damaged snapshot: {damage}") from damage
    if manifest.kind != "snapshot":
        raise UserError(f"{folder}: a {manifest.kind}; allowed: a snapshot or a run folder")
    try:
        unknown = manifest.details.get("unknown", ())
        told = {key: value for key, value in manifest.details["family"].items() if key not in unknown}
        family: FamilyConfig = TypeAdapter(FamilyConfig).validate_python(told)
        spec = ImageSpec(**manifest.details["spec"])
        classes = tuple(manifest.details["classes"])
    except (KeyError, TypeError, AttributeError, ValidationError) as error:
        raise UserError(f"{folder / MANIFEST}: this version cannot read its family: {error}") from error
    return Snapshot(folder, manifest, family, spec, classes)
