"""What a race has come to: a file of figures, a table in Markdown, and a picture of the curves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.evaluation.metrics.registry import about
from pipeline.images.pictures import write_picture
from pipeline.storage.atomic import publish_bytes
from tools.bench.machine import machine
from tools.learning_race.curves import Curve
from tools.learning_race.picture import picture
from tools.learning_race.verdicts import AXES, SURE, Duel, Standing, common_end, duels, standings

JSON, TABLE, PICTURE = "race.json", "race.md", "race.png"
_UNITS = {"images": "images", "seconds": "s of training"}


@dataclass(frozen=True)
class Outcome:
    """Everything that is told. about: of the race, for the file. floor: by metric, what one half of the reals
    scores against the other, and `images` in each half. untrained: standings at 0 images. disturbed: whether
    laps ran side by side, so that seconds are longer than they would be."""

    about: Mapping[str, Any]
    curves: Sequence[Curve]
    floor: Mapping[str, float]
    half: int
    untrained: Sequence[Standing]
    standings: Sequence[Standing]
    duels: Sequence[Duel]
    disturbed: bool


def concluded(
    about: Mapping[str, Any],
    curves: Sequence[Curve],
    floor: Mapping[str, float],
    half: int,
    budgets: Mapping[str, float],
    *,
    disturbed: bool,
) -> Outcome:
    """Compares all entrants at the ends that they share. budgets: by axis, where to compare; 0 for as far as
    all have come."""
    found, fought = list[Standing](), list[Duel]()
    for axis in AXES:
        there = standings(curves, axis, common_end(curves, axis, budgets[axis]))
        found += there
        fought += duels(curves, there)
    untrained = standings(curves, "images", 0)
    return Outcome(about, curves, floor, half, untrained, found, fought, disturbed)


def write(folder: Path, outcome: Outcome) -> str:
    """Writes the three files, and gives the table."""
    body = {
        **outcome.about,
        "machine": machine(),
        "floor": {"images": outcome.half, **outcome.floor},
        "standings": [{**asdict(s), "seeds": s.seeds} for s in (*outcome.untrained, *outcome.standings)],
        "duels": [asdict(duel) for duel in outcome.duels],
        "curves": [_plain(curve) for curve in outcome.curves],
    }
    publish_bytes(folder / JSON, (json.dumps(body, indent=1) + "\n").encode())
    text = table(outcome)
    publish_bytes(folder / TABLE, text.encode())
    write_picture(folder / PICTURE, picture(outcome.curves, outcome.floor))
    return text


def _plain(curve: Curve) -> dict[str, Any]:
    points = [
        {
            "images": point.images,
            "seconds": round(point.seconds, 3),
            **{name: figures["value"] for name, figures in point.figures.items()},
        }
        for point in curve.points
    ]
    return {"entrant": curve.entrant, "seed": curve.seed, "points": points}


def table(outcome: Outcome) -> str:
    """The standings at equal images and at equal seconds, and who is better by more than the spread."""
    lines = []
    for axis in AXES:
        there = [s for s in outcome.standings if s.axis == axis]
        if there:
            lines += [f"## After {there[0].at:,.0f} {_UNITS[axis]}", "", *_rows(there, outcome), ""]
            lines += [*_sentences([d for d in outcome.duels if d.axis == axis]), ""]
    if outcome.disturbed:
        lines.append("Laps ran side by side: seconds are longer than alone, and not for all by as much.")
    return "\n".join(lines).rstrip() + "\n"


def _rows(there: Sequence[Standing], outcome: Outcome) -> list[str]:
    metrics = list(dict.fromkeys(s.metric for s in there))
    heads = [f"{_head(metric)} ({about(metric).better})" for metric in metrics]
    rows = [["", "seeds", *heads], ["---"] * (len(metrics) + 2)]
    for entrant in dict.fromkeys(s.entrant for s in there):
        rows.append(_row(entrant, [s for s in there if s.entrant == entrant], metrics))
        before = [s for s in outcome.untrained if s.entrant == entrant]
        rows.append(_row(f"{entrant}, untrained", before, metrics))
    floor = [_scaled(metric, outcome.floor[metric]) if metric in outcome.floor else "" for metric in metrics]
    rows.append([f"two halves of the reals, {outcome.half} each", "", *floor])
    return [f"| {' | '.join(row)} |" for row in rows]


def _row(title: str, own: Sequence[Standing], metrics: Sequence[str]) -> list[str]:
    cells = {s.metric: _ranged(s) for s in own}
    seeds = max((s.seeds for s in own), default=0)
    return [title, str(seeds), *(cells.get(metric, "") for metric in metrics)]


def _ranged(standing: Standing) -> str:
    mean, low, high = (_scaled(standing.metric, x) for x in (standing.mean, standing.low, standing.high))
    return f"{mean} ({low} to {high})" if standing.seeds > 1 else mean


def _scaled(metric: str, value: float) -> str:
    return f"{value * about(metric).scale:.4g}"


def _head(metric: str) -> str:
    shown = about(metric)
    name = metric if "-" in metric else shown.head
    return f"{name} {shown.unit}".strip()


def _sentences(fought: Sequence[Duel]) -> list[str]:
    if all(duel.chance is None for duel in fought):
        return ["Less than two seeds each: no spread is known, and nothing is said of who is better."]
    return [f"- {_head(duel.metric)}: {_verdict(duel)}" for duel in fought]


def _verdict(duel: Duel) -> str:
    wins = f"{duel.one} beats {duel.other} in {duel.wins} of {duel.pairs} seeds"
    if duel.chance is None:
        return f"{wins}; of one there are less than two seeds."
    chance = f"Welch's p {duel.chance:.2g}"
    if duel.better:
        return f"{wins}; **{duel.better} is better** by more than the spread ({chance})."
    return f"{wins}; within the spread ({chance}, not below {SURE})."
