"""Diagnoses of how a run proceeds: its end, its speed, its quality, its disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from launch.doctor.diagnosis import Diagnose, Diagnosis, at
from launch.doctor.run_readings import Course, RunReadings, last_third, middle
from pipeline.evaluation.metrics.registry import about

GIB = 2**30
_SPEED = "speed/seconds_per_kimg"
_SLOWER, _FEW_TICKS = 2.0, 6
_WORSE, _LEAST_RESULTS = 1.5, 4
_ALIKE = 0.5  # of the way from the similarity of pairs of reals to that of equal images; networks that still
# learn came to 0.3, collapsed ones to 0.9 and more (tools/research/spoilt_runs.py)
_CHECKPOINTS = 3  # that must fit on the disk
_LEAST_FREE = GIB // 4


def ended(run: RunReadings) -> Diagnosis | None:
    """A failure, or an end without a word."""
    state, where = run.state, f"at {at(run.state.images_seen)}"
    if state.state == "failed":
        return Diagnosis(
            "failed",
            True,
            f"the last start failed {where}: {state.reason or 'no reason recorded'}",
            "what its line says; the newest whole checkpoint is kept",
            "mend what the line names, then the same command goes on",
        )
    if state.state == "died":
        return Diagnosis(
            "died",
            True,
            f"it said that it was running, {where}, and has given no sign since",
            "its process was killed: memory, a time limit of the cluster, or a machine that went down",
            "look for 'Killed' in the system's or the job's log; the same command goes on from the last "
            "checkpoint",
        )
    if state.state in ("stopped", "cancelled"):
        return Diagnosis(
            "stopped",
            False,
            f"{state.state} {where} of {at(state.images_total or 0)}: {state.reason or 'no reason recorded'}",
            "it has saved and waits to be started again",
            "the same command goes on",
        )
    return None


def slower(run: RunReadings) -> Diagnosis | None:
    """Seconds per kimg that have grown without the networks having grown."""
    course = _same_work(run)[1:]  # the first tick has what is done once
    third = course[: max(len(course) // 3, 1)]
    before, now = middle(third), middle(last_third(course))
    if len(course) < _FEW_TICKS or not before or not now or now < _SLOWER * before:
        return None
    return Diagnosis(
        "slower",
        False,
        f"{now:.3g} s/kimg over the last third of the ticks, {before:.3g} over the first, up to "
        f"{at(third[-1][0])}",
        "another program shares the machine, a GPU is throttled by heat, or a disk has become slow",
        "see what else runs (nvidia-smi, top), and whether time is waited for data",
    )


def _same_work(run: RunReadings) -> Course:
    """The speed of the ticks whose resolution is the last one's."""
    key = "stage/resolution"
    last = run.ticks[-1].get(key) if run.ticks else None
    return [
        (int(tick["images_seen"]), tick[_SPEED])
        for tick in run.ticks
        if tick.get(key) == last and tick.get(_SPEED, 0) > 0
    ]


def worse(run: RunReadings) -> Diagnosis | None:
    """A metric far from its best."""
    for name, course in _figures(run, lambda figures: figures.get("value")).items():
        sign = {"lower is better": 1, "higher is better": -1}.get(about(name).better)
        course = [(images, value) for images, value in course if images and value > 0]
        if sign is None or len(course) < _LEAST_RESULTS:
            continue
        best, now = min(course, key=lambda one: sign * one[1]), course[-1]
        ratio = (now[1] / best[1]) ** sign
        if ratio > _WORSE and all((value / best[1]) ** sign > _WORSE for _, value in course[-2:]):
            return Diagnosis(
                "getting worse",
                True,
                f"{name} was {best[1]:.4g} at {at(best[0])} and is {now[1]:.4g} at {at(now[0])}",
                "training has passed its best; with few images the discriminator knows them by heart",
                f"take the snapshot of {at(best[0])} (best.json); another run with augmentation, or with "
                "stop.metric set, ends in time",
            )
    return None


def alike(run: RunReadings) -> Diagnosis | None:
    """Samples more alike than the reals."""
    for name, course in _figures(run, _excess).items():
        if about(name).better == "best near the reals" and course[-1][0] and course[-1][1] > _ALIKE:
            value, reals = (run.results[-1].metrics[name]["value"], _reals(run.results[-1].metrics[name]))
            return Diagnosis(
                "samples look alike",
                True,
                f"{name} of pairs of samples is {value:.3f} at {at(course[-1][0])}, of pairs of images "
                f"{reals:.3f}",
                "the generator makes a few pictures again and again (mode collapse)",
                "an earlier snapshot; another run with a stronger gradient penalty, lower rates, or more "
                "images",
            )
    return None


def _reals(figures: Mapping[str, Any]) -> float | None:
    reals = figures.get("reals")
    known = reals.get("value") if isinstance(reals, Mapping) else reals
    return float(known) if isinstance(known, int | float) else None


def _excess(figures: Mapping[str, Any]) -> float | None:
    """0 where samples are as alike as the reals, 1 where all are the same."""
    reals = _reals(figures)
    return None if reals is None or reals >= 1 else (figures["value"] - reals) / (1 - reals)


def _figures(
    run: RunReadings, value_of: Callable[[Mapping[str, Any]], float | None]
) -> dict[str, list[tuple[int, float]]]:
    """The courses of the metrics that the newest result has."""
    newest = run.results[-1].metrics if run.results else {}
    courses: dict[str, list[tuple[int, float]]] = {name: [] for name in newest}
    for result in run.results:
        for name in newest:
            value = value_of(result.metrics[name]) if name in result.metrics else None
            if value is not None:
                courses[name].append((result.images_seen, value))
    return {name: course for name, course in courses.items() if course}


def disk(run: RunReadings) -> Diagnosis | None:
    """Too little room for what is written next."""
    needed = max(_CHECKPOINTS * run.checkpoint_bytes, _LEAST_FREE)
    if run.free_bytes is None or run.free_bytes >= needed or run.state.state == "finished":
        return None
    return Diagnosis(
        "disk",
        True,
        f"{run.free_bytes / GIB:.2f} GiB are free where the run lies, and a checkpoint takes "
        f"{run.checkpoint_bytes / GIB:.2f}",
        "the next checkpoint or snapshot may not fit, and the run then ends",
        "delete what is not needed, such as old snapshots; snapshots.every_images may be raised at any start",
    )


COURSE: tuple[Diagnose, ...] = (ended, worse, alike, slower, disk)
