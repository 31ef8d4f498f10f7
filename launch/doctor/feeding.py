"""Diagnoses of the data that a run learns from."""

from __future__ import annotations

from launch.doctor.diagnosis import Diagnose, Diagnosis, at
from launch.doctor.run_readings import DATA_WAIT, RunReadings, since

_FEW = 100
_WAITED = 0.2  # of the time of a tick
_FEW_TICKS = 2


def few_images(run: RunReadings) -> Diagnosis | None:
    """A data set too small to learn what varies."""
    if run.images is None or run.images >= _FEW or not run.ticks:
        return None
    source = run.config.start.source if run.config is not None else None
    return Diagnosis(
        "few images",
        source is None,
        f"the data set has {run.images} images, and each was seen {run.passes or 0:,.0f} times up to "
        f"{at(run.seen)}",
        "the generator can only repeat them, whatever augmentation does",
        "a few hundred images at least, a thousand or more without start.source; look at the nearest "
        "neighbours of samples (hrgan generate --training-data)",
    )


def labels(run: RunReadings) -> Diagnosis | None:
    """Classes that do not show in the images."""
    known = run.labels
    if known is None or known.carry:
        return None
    return Diagnosis(
        "labels say nothing",
        False,
        "classifiers that learnt the classes from small images of the data set are right about "
        f"{known.hits:.1%} "
        f"of {known.images} others; guesses would be about {known.chance:.1%}",
        "a file of labels has slipped by a row or was sorted otherwise, or the classes are too fine to show "
        "at "
        "16 pixels; what the images do not show, a generator cannot learn",
        "look at some images of each class (hrgan export SHARDS FOLDER); mend the labels and prepare again, "
        "or "
        "train without them: data.labels=false",
    )


def waiting(run: RunReadings) -> Diagnosis | None:
    """Steps that wait for images."""
    course = run.course(DATA_WAIT)
    held = since(course, lambda share: share > _WAITED)
    if held is None or held[1] < _FEW_TICKS:
        return None
    workers = run.config.data.workers if run.config is not None else None
    have = f" (data.workers={workers})" if workers is not None else ""
    return Diagnosis(
        "waiting for data",
        False,
        f"{course[-1][1]:.0%} of the time went by waiting for images{have}, above {_WAITED:.0%} since "
        f"{at(held[0])}",
        "the loader or the disk is slower than the networks, which stand idle meanwhile",
        "more data.workers, up to the cores there are; shards on a disk of this machine; jpg or webp shards, "
        "prepared at the resolution of training, with --pyramid for networks that grow",
    )


def damaged(run: RunReadings) -> Diagnosis | None:
    """Images passed over."""
    course = run.course("data/damaged_images")
    if not course or not course[-1][1]:
        return None
    first = next(images for images, count in course if count)
    return Diagnosis(
        "damaged images",
        False,
        f"{course[-1][1]:.0f} damaged images were passed over up to {at(run.seen)}, the first by {at(first)}",
        "shards have changed or lost bytes; others are seen more often in their place",
        "hrgan prepare again, or copy the shards anew",
    )


FEEDING: tuple[Diagnose, ...] = (few_images, labels, waiting, damaged)
