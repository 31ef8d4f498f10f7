"""`hrgan average`: from what a run's snapshots keep to a snapshot with another average."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from launch.assembly.sampling import generator_of
from pipeline.errors import UserError
from pipeline.models.settling import settle
from pipeline.storage.averages import average_folder, stored_averages
from pipeline.storage.manifest import MANIFEST
from pipeline.storage.positions import numbered
from pipeline.storage.snapshots import is_averaged, open_snapshot, write_averaged
from pipeline.training.mixing import Recipe, mix, recipe_of


@dataclass(frozen=True)
class Averaged:
    """A snapshot with the average that `recipe` makes."""

    folder: Path
    recipe: Recipe


def recipe_in(run: Path, width: float, at: int | None, report: Callable[[str], None]) -> Recipe:
    """The recipe for an average from the snapshots of `run`. UserError if they do not hold it."""
    if not run.is_dir() or (run / MANIFEST).exists():
        what = "a single snapshot" if run.is_dir() else "no such folder"
        raise UserError(f"{run}: {what}; allowed: the folder of a run")
    return recipe_of(run, stored_averages(run, report), width, at)


def average(
    run: Path,
    width: float,
    at: int | None,
    device: torch.device,
    report: Callable[[str], None],
    out: Path | None = None,
) -> Averaged:
    """Makes the average of `width` at the position `at` of `run` (None: the newest) a snapshot in
    RUN/averages/WIDTH/snapshots/IMAGES, or in `out`. What is there already is not made again.

    Parameters are mixed; buffers that follow from them are computed anew, and others are those of the
    snapshot at that position. report: gets what makes the average doubtful.
    """
    recipe = recipe_in(run, width, at, report)
    if recipe.doubt is not None:
        report(recipe.doubt)
    snapshot = open_snapshot(numbered(run / "snapshots", recipe.images_seen))
    folder = out or numbered(average_folder(run, width) / "snapshots", recipe.images_seen)
    if is_averaged(folder, snapshot, recipe.about):
        return Averaged(folder, recipe)
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"--out {out}: exists and is not this average; allowed: a new or an empty folder")
    family, generator = generator_of(snapshot, device)
    mix(recipe, dict(generator.named_parameters()))
    settle(family, generator, snapshot.stage)
    write_averaged(folder, generator.state_dict(), snapshot, recipe.about)
    return Averaged(folder, recipe)
