"""The weights that a run begins with: those of a snapshot, of a checkpoint, or of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from pipeline.errors import Damaged, UserError
from pipeline.storage.averages import GENERATOR
from pipeline.storage.checkpoints import CheckpointStore
from pipeline.storage.manifest import MANIFEST, read_manifest, verify
from pipeline.storage.snapshots import DISCRIMINATOR, list_snapshots
from pipeline.storage.tensors import load_tensors

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class StartWeights:
    """Weights by name, on the CPU. average: of the averaged generator. discriminator: None if unknown."""

    generator: Weights
    average: Weights
    discriminator: Weights | None


def load_start(source: Path) -> StartWeights:
    """The weights of `source`: a snapshot, a checkpoint, or a run (its newest checkpoint, else snapshot).

    A snapshot holds the averaged generator alone, unless `hrgan import` put a discriminator beside it.
    Errors: UserError if it is none of these, or damaged.
    """
    folder = _folder(source)
    try:
        kind = read_manifest(folder).kind
        if kind == "checkpoint":
            return _checkpoint(folder)
        if kind == "snapshot":
            verify(folder, (GENERATOR, DISCRIMINATOR))
            return _snapshot(folder)
    except Damaged as damage:
        raise UserError(f"start.source: damaged: {damage}") from damage
    raise UserError(f"start.source: {folder}: a {kind}; allowed: a snapshot, a checkpoint or a run")


def _folder(source: Path) -> Path:
    if source.exists() and not source.is_dir():
        raise UserError(
            f"start.source: {source}: a file; allowed: the folder of a snapshot, checkpoint or run"
        )
    if not source.is_dir():
        raise UserError(f"start.source: {source}: no such folder; allowed: a snapshot, a checkpoint or a run")
    if (source / MANIFEST).exists():
        return source
    newest = CheckpointStore(source, keep=1).newest(lambda line: None)
    if newest is not None:
        return newest.folder
    snapshots = list_snapshots(source)
    if not snapshots:
        raise UserError(f"start.source: {source}: no snapshot, no checkpoint and no run with either")
    return snapshots[-1]


def _snapshot(folder: Path) -> StartWeights:
    generator = load_tensors(folder / GENERATOR)
    has_discriminator = DISCRIMINATOR in read_manifest(folder).files
    other = load_tensors(folder / DISCRIMINATOR) if has_discriminator else None
    return StartWeights(generator, generator, other)


def _checkpoint(folder: Path) -> StartWeights:
    groups = CheckpointStore.verified(folder).load()
    if not {"networks", "average"} <= groups.keys():
        raise Damaged(f"{folder}: holds {', '.join(sorted(groups)) or 'nothing'}, not the weights of a run")
    return StartWeights(
        _part(groups["networks"], "generator."),
        groups["average"],
        _part(groups["networks"], "discriminator."),
    )


def _part(tensors: Weights, prefix: str) -> Weights:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
