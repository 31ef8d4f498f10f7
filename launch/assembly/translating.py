"""`hrgan translate`: from its options to pictures."""

from __future__ import annotations

import sys

import typer

from launch.assembly.sampling import choose_device, sampler_of
from launch.options.translate import TranslateOptions
from pipeline.contracts import Translator, TwoWay
from pipeline.errors import UserError
from pipeline.storage.snapshots import open_snapshot
from pipeline.translation.inputs import Inputs
from pipeline.translation.tiles import tiling_of
from pipeline.translation.translate import How, refuse_within, translate
from pipeline.words import counted, tell


def translate_all(options: TranslateOptions) -> int:
    """Translates what the options ask for. Returns the exit code: 1 if nothing could be translated."""
    snapshot = open_snapshot(options.source)
    translator = sampler_of(snapshot, choose_device(options.device))
    if not isinstance(translator, Translator):
        raise UserError(f"{options.source}: makes images of chance, not of images; hrgan generate takes it")
    if options.back:
        if not isinstance(translator, TwoWay):
            raise UserError(f"--back: {options.source} has learnt one direction; leave it out")
        translator = translator.back()
    refuse_within(options.out, options.given)
    inputs = Inputs(options.given, translator.translation, options.holes)
    tiling = tiling_of(translator, options.tile, options.overlap)
    how = How(
        snapshot.digest, inputs.digest, options.back, options.seed, tiling, options.format, options.quality
    )
    report = translate(translator, inputs, options.out, how, progress=sys.stderr.isatty(), say=tell)
    parts = [f"{options.out}: {counted(report.made + report.stood, 'image')}"]
    if report.stood:
        parts.append(f"{report.stood} of them made before")
    if report.left_out:
        parts.append(f"{len(report.left_out)} left out")
    typer.echo(", ".join(parts))
    return 0 if report.made + report.stood else 1
