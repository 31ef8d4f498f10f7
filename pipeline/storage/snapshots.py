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
    def images_seen(self) -> int:
        return self.manifest.images_seen

    @property
    def stage(self) -> Stage:
        return Stage(**self.manifest.details["stage"])

    @property
    def batch_size(self) -> int:
        """Global batch that the generator was trained with, in images."""
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
        _publish(folder, {GENERATOR: weights}, position, details)
    return folder


def write_imported(
    folder: Path,
    weights: Mapping[str, Tensor],
    *,
    family: FamilyConfig,
    spec: ImageSpec,
    stage: Stage,
    images_seen: int,
    origin: Mapping[str, Any],
    discriminator: Mapping[str, Tensor] | None = None,
) -> None:
    """Publishes `folder` itself as a snapshot of weights that came from elsewhere.

    origin: file, sha256 and format. discriminator: kept beside, for runs that start with it.
    Errors: UserError if something else stands there; the same import may be repeated.
    """
    classes = [str(number) for number in range(spec.classes)]
    details = _details(family, spec, classes, stage, data={}, origin=dict(origin))
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        if _is_same(folder, details):
            return
        raise UserError(f"{folder}: exists and is not this import; allowed: a new or an empty folder")
    groups = {GENERATOR: weights}
    if discriminator is not None:
        groups[DISCRIMINATOR] = discriminator
    _publish(folder, groups, Position(images_seen, 0, 1, ""), details)


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
    folder: Path, groups: Mapping[str, Mapping[str, Tensor]], at: Position, details: Mapping[str, Any]
) -> None:
    with publish_folder(folder) as aside:
        for name, tensors in groups.items():
            save_tensors(aside / name, tensors)
        files = digest_folder(aside)
        manifest = Manifest("snapshot", **asdict(at), code=code_version(), files=files, details=details)
        (aside / MANIFEST).write_bytes(manifest.to_bytes())


def _is_same(folder: Path, details: Mapping[str, Any]) -> bool:
    # A resumed run comes by its own snapshots again; rewriting them would change their digest's date
    # for evaluators that are reading them now.
    try:
        return folder.exists() and verify(folder).details == details
    except Damaged:
        return False


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
        family: FamilyConfig = TypeAdapter(FamilyConfig).validate_python(manifest.details["family"])
        spec = ImageSpec(**manifest.details["spec"])
        classes = tuple(manifest.details["classes"])
    except (KeyError, TypeError, ValidationError) as error:
        raise UserError(f"{folder / MANIFEST}: this version cannot read its family: {error}") from error
    return Snapshot(folder, manifest, family, spec, classes)
