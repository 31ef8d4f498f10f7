"""Does one configuration, or another project's code, learn as well as another? A race on the same shards, with
several seeds, for the same number of images and of seconds.

Each entrant trains with each seed; snapshots of its averaged generator are measured on the way. OUT gets
race.json, race.md and race.png: figures over images and over seconds with their range over the seeds, at equal
images and at equal seconds who is better by more than that, and beside them what the untrained networks and
one half of the reals score. The same command after a kill goes on, and with more seeds adds them.

Examples:
python -m tools.learning_race --data shards --out out/race --images 100k plain=configs/mlp-32.yaml strong=configs/mlp-32.yaml,family.r1_gamma=1
python -m tools.learning_race --data shards --out out/race --images 24k --seconds 300 ours=configs/quickstart.yaml theirs=peer:stylegan2-ada-pytorch:../stylegan2-ada-pytorch

A peer trains by its own loop on a CPU, at the sizes of its CONFIG, or of the first of ours. Seconds are those of
steps, with waits for data and without starts and saving; on a machine that does nothing else.
"""  # noqa: E501

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from pipeline.config.units import PositiveCount
from pipeline.data.shards.index import ShardIndex
from pipeline.errors import UserError
from pipeline.evaluation.metrics.fid import FrechetDistance
from pipeline.evaluation.metrics.registry import PLAIN, parse_metrics
from pipeline.evaluation.results import read_result, set_result_path
from pipeline.storage.lock import only_writer
from pipeline.words import note
from tools.learning_race.curves import curve_of
from tools.learning_race.entrants import entrants_of
from tools.learning_race.features import FACTORIES, RANDOM
from tools.learning_race.laps import Race, Start, conduct, start
from tools.learning_race.report import Outcome, concluded, write
from tools.learning_race.sets import write_halves

OWN = "own"
_POINTS = 8
"""Measurements on the way, unless `--every` says otherwise."""


def main(arguments: Sequence[str] | None = None, start: Start = start) -> int:
    """Exit code: 0, 1 if a lap failed, 2 for wrong usage, 130 if interrupted. start: how programs are run."""
    options = parser().parse_args(arguments)
    try:
        race = race_of(options)
        data = ShardIndex.read(race.data)
        with only_writer(race.folder):
            failed = conduct(race, data, note, start)
            print(write(race.folder, outcome_of(race, data)))
    except UserError as error:
        print(f"learning_race: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        note("interrupted; the same command goes on")
        return 130
    for line in failed:
        note(f"error: {line}")
    return 1 if failed else 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("entrants", nargs="+", metavar="ENTRANT",
        help="NAME=CONFIG[,key=value...] or NAME=peer:KIND:CHECKOUT[:CONFIG[,key=value...]]")  # fmt: skip
    arguments.add_argument("--data", required=True, metavar="SHARDS", help="to learn from and compare with")
    arguments.add_argument("--out", required=True, type=Path, help="folder of runs and results")
    arguments.add_argument("--images", required=True, help="each trains for at least so many, such as 100k")
    arguments.add_argument("--seconds", type=float, default=0.0, metavar="S",
        help="and for at least so many seconds; without it, compared where the first ended")  # fmt: skip
    arguments.add_argument("--seeds", type=int, default=3, help="seeds 0, 1, ...; default 3")
    arguments.add_argument("--every", help=f"images between measurements; default {_POINTS} on the way")
    arguments.add_argument("--count", type=int, default=2000, help="samples in each; default 2000")
    arguments.add_argument("--metrics", default=",".join((*PLAIN, FrechetDistance.name)),
        help="as `hrgan evaluate` has them; default %(default)s")  # fmt: skip
    arguments.add_argument("--extractor", default=RANDOM,
        help=f"features of distances: {', '.join(FACTORIES)}, which need no weights; {OWN}: each metric's "
        "own, with published weights; or as `hrgan evaluate --extractor`; default %(default)s")  # fmt: skip
    arguments.add_argument("--at-once", type=int, default=1, metavar="N",
        help="laps side by side, which disturbs their seconds; default 1")  # fmt: skip
    arguments.add_argument("--processes", type=int, default=1, help="of each training of ours; default 1")
    arguments.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    return arguments


def race_of(options: argparse.Namespace) -> Race:
    """What the options ask for. UserError for what they may not."""
    for name, least in (("seeds", 1), ("count", 10), ("at_once", 1), ("processes", 1)):
        if getattr(options, name) < least:
            shown = name.replace("_", "-")
            raise UserError(f"--{shown} {getattr(options, name)}: must be at least {least}")
    if not 0 <= options.seconds < float("inf"):
        raise UserError(f"--seconds {options.seconds}: must be a number of seconds, 0 or more")
    images = _count("--images", options.images)
    every = _count("--every", options.every) if options.every else max(images // _POINTS, 1)
    metrics = parse_metrics(options.metrics)
    measure = ["--metrics", ",".join(metrics), "--device", options.device]
    if options.extractor != OWN:
        measure += ["--extractor", FACTORIES.get(options.extractor, options.extractor)]
    entrants = entrants_of(options.entrants)
    if options.device == "cuda" and any(entrant.peer for entrant in entrants):
        raise UserError("--device cuda: peers train on a CPU; allowed: cpu, auto")
    train = ["--processes", str(options.processes), f"engine.device={options.device}"]
    return Race(
        options.out, options.data, entrants, range(options.seeds), images, options.seconds, every,
        options.count, measure, train, options.at_once,
    )  # fmt: skip


def _count(option: str, text: str) -> int:
    try:
        return int(TypeAdapter(PositiveCount).validate_python(text))
    except ValidationError:
        raise UserError(f"{option} {text}: no count; allowed: a number above 0, such as 100k") from None


def outcome_of(race: Race, data: ShardIndex) -> Outcome:
    """What stands in the race's folder."""
    curves = [
        curve_of(entrant.name, seed, race.run(entrant, seed), data)
        for entrant in race.entrants
        for seed in race.seeds
    ]
    measured = [curve for curve in curves if curve.points]
    if not measured:
        raise UserError(f"{race.folder}: nothing was measured; the words of each lap stand in its folder")
    first, second = (ShardIndex.read(half) for half in write_halves(data, race.floor, race.count))
    result = read_result(set_result_path(first, second))
    floor = {name: figures["value"] for name, figures in result.metrics.items()} if result else {}
    about = {
        "data": {"path": data.where, "digest": data.digest, "count": data.count},
        "entrants": {entrant.name: entrant.told for entrant in race.entrants},
        "samples": race.count,
        "at_once": race.at_once,
    }
    budgets = {"images": float(race.images), "seconds": race.seconds}
    return concluded(about, measured, floor, first.count, budgets, disturbed=race.at_once > 1)


if __name__ == "__main__":
    raise SystemExit(main())
