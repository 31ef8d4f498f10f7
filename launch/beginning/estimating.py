"""How long the planned run takes, how much memory it needs, and how many images that makes."""

from __future__ import annotations

import math
from pathlib import Path
from tempfile import TemporaryDirectory

from launch.assembly.trainer import family_of
from launch.beginning.measuring import Measured, measured
from launch.beginning.plan import Plan
from launch.beginning.writing import Estimate, configuration
from pipeline.config.load import load_config
from pipeline.config.run import RunConfig
from pipeline.errors import UserError
from pipeline.models.auto import with_auto_settings
from pipeline.models.first import counted_gb, published_seconds
from pipeline.training.trainer import micro_batches

_USUAL = "Enough to see whether it learns."
_UNKNOWN = Estimate(1_000_000, _USUAL, "", "", 4_000, 200_000, 200_000)
_SHORTEST, _LONGEST = 500, 25_000_000
_CHECKPOINT_SECONDS = 1800
_TICKS, _SAVES = 400, 20  # of a run


def settings_of(plan: Plan, estimate: Estimate = _UNKNOWN) -> RunConfig:
    """The configuration that the plan stands for, as `hrgan train` reads it, complete and checked: by the
    schema, and by the family for so many processes. Raises UserError if it would be refused."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / plan.config.name
        path.write_text(configuration(plan, estimate), encoding="utf-8")
        config = with_auto_settings(load_config(path), plan.spec)
    family, processes = family_of(config, plan.spec), max(plan.gpus, 1)
    for size in family.schedule.batch_sizes():
        if size % processes:
            raise UserError(f"--gpus {processes}: do not divide a batch of {size}; allowed: a divisor of it")
        micro = config.batch.micro if isinstance(config.batch.micro, int) else None
        family.check_batch(size // processes // micro_batches(size // processes, micro))
    return config


def estimated(plan: Plan, wants: bool | None) -> Estimate:
    """wants: whether to measure; None: on a CPU alone, where nothing is published."""
    on_this = plan.gpus <= len(plan.equipment.gpus) and (plan.gpus > 0) == bool(plan.equipment.gpus)
    measure = on_this and (wants if wants is not None else not plan.gpus)
    config = settings_of(plan)
    steps = measured(config, plan.spec) if measure else None
    rate, source = _rate(plan, steps)
    return _within(plan, config, rate, source, _memory(plan, config, steps))


def _rate(plan: Plan, steps: Measured | None) -> tuple[float | None, str]:
    if steps is not None:
        share = max(plan.gpus, 1)
        where = f"measured here in {steps.steps} steps on noise" + (f", divided by {share}" * (share > 1))
        return steps.seconds_per_kimg / share, where
    known = published_seconds(plan.family, plan.resolution, plan.gpus)
    return known if known is not None else (None, "")


def _within(plan: Plan, config: RunConfig, rate: float | None, source: str, memory: str) -> Estimate:
    least = config.batch.size
    if rate is None:
        images, why = (config.length.images, "As published.") if plan.first.inherit else (1_000_000, _USUAL)
        hours = (
            "not known: nothing is published for this, and nothing was measured (hrgan init --measure does)"
        )
    else:
        images, why = _length(plan.hours, rate)
        hours = f"about {images * rate / 3.6e6:.2g} at {rate:.3g} s per 1,000 images, {source}"
    snapshot = max(_round(images / _SAVES), least)
    checkpoint = (
        snapshot if rate is None else max(min(snapshot, _round(_CHECKPOINT_SECONDS * 1000 / rate)), least)
    )
    return Estimate(images, why, hours, memory, max(_round(images / _TICKS), least), snapshot, checkpoint)


def _length(hours: float, rate: float) -> tuple[int, str]:
    images = max(_round(3_600_000 * hours / rate), _SHORTEST)
    if images > _LONGEST:
        return _LONGEST, "The published length, of which there are hours enough."
    return images, f"What {hours:g} hours are good for."


def _round(value: float) -> int:
    """To two digits."""
    digits = max(len(str(math.floor(max(value, 1)))) - 2, 0)
    unit = int(10**digits)
    return max(int(value / unit) * unit, 1)


def _memory(plan: Plan, config: RunConfig, steps: Measured | None) -> str:
    if steps is not None:
        return f"{steps.peak_gib:.1f} GiB, measured here in the same steps, without the loader's processes"
    images = -(-config.batch.size // max(plan.gpus, 1))
    known = counted_gb(plan.family, plan.resolution, images) if plan.gpus else None
    if known is None:
        return "not known; batch.micro=auto finds out how many images fit"
    return (
        f"at most {known:.0f} GB a GPU for the {images} images of a process at once, counted, not measured; "
        "batch.micro=auto takes fewer at once where that does not fit"
    )
