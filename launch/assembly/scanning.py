"""`hrgan evaluate RUN --widths`: quality over the width of the averaged generator."""

from __future__ import annotations

from collections.abc import Callable

import torch

from launch.assembly.averaging import average, recipe_in
from launch.options.average import position
from launch.options.evaluate import EvaluateOptions
from pipeline.evaluation.follow import evaluate_target
from pipeline.evaluation.job import EvaluationJob
from pipeline.evaluation.results import Result
from pipeline.evaluation.widths import widths_picture, widths_table
from pipeline.images.pictures import write_picture
from pipeline.storage.averages import AVERAGES
from pipeline.storage.positions import numbered
from pipeline.storage.snapshots import list_snapshots
from pipeline.words import keep_quiet


def check_widths(options: EvaluateOptions) -> None:
    """Raises UserError if the run does not hold what the averages are made of. One that has no snapshots yet
    may be waited for."""
    for width in options.chosen_widths if list_snapshots(options.source) else ():
        recipe_in(options.source, width, position(options.at), keep_quiet)


def scan_widths(
    job: EvaluationJob,
    options: EvaluateOptions,
    device: torch.device,
    report: Callable[[str], None],
    warn: Callable[[str], None],
) -> None:
    """Measures the family's own average at one position, then that of each width, made where it is missing.
    On the first process, reports a table and publishes RUN/averages/<images>.png. warn: gets what makes an
    average doubtful.

    Each result lies in its average's own folder, so that nothing is measured twice and several evaluators
    share the work.
    """
    run, first = options.source, job.peers.rank == 0
    widths = options.chosen_widths
    begun = recipe_in(run, widths[0], position(options.at), warn).images_seen if first else 0
    at = job.peers.from_first(begun)
    results: dict[float | None, Result] = {}
    for width in (None, *widths):
        folder = numbered(run / "snapshots", at)
        if width is not None and first:
            folder = average(run, width, at, device, warn).folder
        for result in evaluate_target(job, job.peers.from_first(folder), "newest", keep_quiet):
            results[width] = result
    if first:
        report(widths_table(results))
        picture = run / AVERAGES / f"{at:012d}.png"
        write_picture(picture, widths_picture(results, f"{run.name} at {at:,} images, over the width"))
        report(f"picture: {picture}")
