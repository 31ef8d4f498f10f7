"""All that is wrong with a run, in the order in which it should be read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from launch.doctor.course import COURSE
from launch.doctor.diagnosis import Diagnose, Diagnosis, at
from launch.doctor.feeding import FEEDING
from launch.doctor.numbers import NUMBERS
from launch.doctor.play import PLAY
from launch.doctor.run_readings import DATA_WAIT, RunReadings
from pipeline.reading import shown
from pipeline.words import counted, table

DIAGNOSES: tuple[Diagnose, ...] = (*NUMBERS, *FEEDING, *PLAY, *COURSE)
"""Every diagnosis. A new one is one more entry in the table of its file."""

_KEYS = (
    *("loss/discriminator", "loss/generator", "signs/real", "state/ada_p", "state/apa_p"),
    *("skipped_updates", DATA_WAIT, "speed/seconds_per_kimg", "memory/peak_gib"),
)


def diagnoses(run: RunReadings) -> list[Diagnosis]:
    """What is wrong first, then what is worth a look."""
    found = [one for look in DIAGNOSES if (one := look(run)) is not None]
    return sorted(found, key=lambda one: not one.wrong)


def run_report(run: RunReadings, found: list[Diagnosis]) -> str:
    """A paragraph for each diagnosis, then the figures that they come from."""
    return "\n\n".join([_head(run, found), *map(_paragraph, found), *_figures(run), *_faults(run)])


def _head(run: RunReadings, found: list[Diagnosis]) -> str:
    state = run.state
    total = f" of {state.images_total:,}" if state.images_total is not None else ""
    what = counted(len(found), "finding") if found else "nothing wrong was found"
    if not run.ticks:
        what += "; the log has no tick yet"
    return shown(f"{run.run}: {state.state}, {state.images_seen:,}{total} images; {what}")


def _paragraph(one: Diagnosis) -> str:
    head = f"{'WRONG' if one.wrong else 'look at'}: {one.name}"
    rows = (("seen:", one.seen), ("means:", one.means), ("try:", one.attempt))
    return "\n".join([head, *(f"  {name:<7}{shown(text)}" for name, text in rows)])


def _figures(run: RunReadings) -> Iterator[str]:
    rows = [(key, f"{value:.4g}") for key in _KEYS if (value := run.late(key)) is not None]
    if run.passes is not None and run.ticks:
        rows.append(("passes over the data", f"{run.passes:.3g} ({run.images:,} images)"))
    if run.labels is not None:
        rows.append(("classes told from images", f"{run.labels.hits:.1%} (chance {run.labels.chance:.1%})"))
    for result in run.results[-1:]:
        rows += [
            (f"{name} at {at(result.images_seen)}", f"{figures['value']:.4g}")
            for name, figures in result.metrics.items()
        ]
    if rows:
        ticks = counted(len(run.ticks), "tick")
        yield f"figures, medians of the last third of {ticks}\n{table(rows, indent=2)}"


def _faults(run: RunReadings) -> Iterator[str]:
    if run.faults:
        yield "\n".join(["not read", *(f"  {shown(fault)}" for fault in run.faults)])


def run_json(run: RunReadings, found: list[Diagnosis]) -> dict[str, Any]:
    """The same as JSON."""
    return {
        "run": str(run.run),
        "state": asdict(run.state),
        "diagnoses": [asdict(one) for one in found],
        "figures": {key: run.late(key) for key in _KEYS if run.late(key) is not None},
        "images": run.images,
        "passes": run.passes,
        "labels": None if run.labels is None else asdict(run.labels),
        "faults": list(run.faults),
    }
