"""Diagnoses of numbers that have left all bounds, and of the rates that drive them there."""

from __future__ import annotations

import math

from launch.doctor.diagnosis import Diagnose, Diagnosis, at
from launch.doctor.run_readings import RunReadings, Tick, last_third, since
from pipeline.contracts import NETS

_MANY_SKIPPED = 0.1  # of a tick's updates
_LARGE_LOGIT, _LARGE_GRADIENT = 1e4, 1e5
_FAR = 20.0  # times the family's default; the rates that come with hrgan are within 10
_RATES = tuple(f"{net}_rate" for net in NETS)


def not_finite(run: RunReadings) -> Diagnosis | None:
    """NaN or infinity among a tick's figures."""
    bad = [(int(tick["images_seen"]), names) for tick in run.ticks if (names := _not_finite(tick))]
    if not bad:
        return None
    images, names = bad[0]
    share = f"{len(bad)} of {len(run.ticks)} ticks have such figures"
    return Diagnosis(
        "not finite",
        bad[-1][0] == run.seen,
        f"NaN or infinity in {', '.join(names[:3])}, first in the tick at {at(images)}; {share}",
        "numbers have grown beyond what a float holds; updates with such gradients are skipped",
        "begin another run with start.source= a checkpoint or snapshot before that, lower rates, and "
        "engine.precision=float32",
    )


def _not_finite(tick: Tick) -> list[str]:
    return [name for name, value in tick.items() if not math.isfinite(value)]


def skipped(run: RunReadings) -> Diagnosis | None:
    """A steady share of skipped updates."""
    course = last_third(run.course("skipped_updates"))
    shares = [value for _, value in course]
    if not shares or sum(shares) / len(shares) <= _MANY_SKIPPED:
        return None
    return Diagnosis(
        "skipped updates",
        True,
        f"{sum(shares) / len(shares):.0%} of all updates were skipped since {at(course[0][0])}",
        "their gradients were not finite, and what is skipped teaches nothing",
        "engine.precision=float32, lower rates, or a stronger gradient penalty, in another run",
    )


def exploding(run: RunReadings) -> Diagnosis | None:
    """Logits or gradients larger than any game between equals has."""
    for key, most in _limits(run):
        course = [(images, abs(value) / most) for images, value in run.course(key)]
        held = since(course, lambda share: share > 1)
        if held is not None and held[1] >= 2:
            value = run.course(key)[-1][1]
            return Diagnosis(
                "exploding",
                True,
                f"{key} is {value:.3g} and has been beyond {most:.0e} since {at(held[0])}",
                "the two networks drive each other out of every range; samples are noise or one colour",
                "lower both rates (begin with the family's defaults) or strengthen the gradient penalty, in "
                "another run",
            )
    return None


def _limits(run: RunReadings) -> list[tuple[str, float]]:
    keys = sorted(run.ticks[-1]) if run.ticks else []
    logits = [(key, _LARGE_LOGIT) for key in keys if key.startswith("logits/")]
    return logits + [(key, _LARGE_GRADIENT) for key in keys if key.startswith("gradient_norm/")]


def rates(run: RunReadings) -> Diagnosis | None:
    """Learning rates far from the default of the run's family."""
    if run.config is None:
        return None
    family, far = run.config.family, []
    for name in _RATES:
        default = type(family).model_fields[name].default if name in type(family).model_fields else None
        if not isinstance(default, float):
            continue
        ratio = getattr(family, name) / default
        if not 1 / _FAR <= ratio <= _FAR:
            far.append((name, getattr(family, name), default, ratio))
    if not far:
        return None
    shown = (
        f"family.{name} is {value:g}, {ratio:.3g} times its default {d:g}" for name, value, d, ratio in far
    )
    return Diagnosis(
        "learning rate",
        True,
        "; ".join(shown),
        "with rates too high, losses explode or the discriminator wins at once; too low, nothing is learnt",
        f"{' '.join(f'family.{name}={d:g}' for name, _, d, _ in far)} in another run",
    )


NUMBERS: tuple[Diagnose, ...] = (not_finite, rates, exploding, skipped)
