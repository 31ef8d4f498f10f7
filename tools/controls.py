"""What tools compare a model with: an untrained one of its kind, and samples of data in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from launch.assembly.sampling import generator_of
from pipeline.contracts import Batch, Conditional, Family, Sampler
from pipeline.data.streaming.numbered import NumberedSamples
from pipeline.errors import UserError
from pipeline.randomness import seed_everything
from pipeline.storage.snapshots import open_snapshot

LEARN = 4000
"""Samples that what stands beside a model learns from, unless told."""

_BLOCK = 32  # images that are drawn at once


@dataclass(frozen=True)
class Beside:
    """A family, the sampler of a snapshot of it, and that of an untrained generator of the same kind."""

    family: Family
    trained: Sampler
    untrained: Sampler


def beside_untrained(source: Path, device: torch.device) -> Beside:
    """Returns both samplers for a snapshot, or a run's newest."""
    snapshot = open_snapshot(source)
    family, generator = generator_of(snapshot, device)
    trained = family.sampler(generator, snapshot.stage)
    seed_everything(0)
    other = family.networks().generator.to(device).eval()
    return Beside(family, trained, family.sampler(other, snapshot.stage))


def read(samples: NumberedSamples, numbers: Sequence[int], device: torch.device) -> Batch:
    """Returns the samples of these numbers, on the device."""
    return samples.batch(numbers).map(lambda tensor: tensor.to(device))


def halves(samples: int, learn: int, count: int) -> tuple[range, range]:
    """Returns the numbers of samples to learn from, at most `learn` with even numbers, and of those that are
    held out, at most `count` with odd ones, of so many that there are. UserError unless there are both."""
    for name, most in (("learn", learn), ("count", count)):
        if most < 1:
            raise UserError(f"--{name} {most}: allowed: 1 and more")
    if samples < 2:
        raise UserError(f"--data: {samples} samples; allowed: 2 and more, half of them to learn from")
    return range(0, samples, 2)[:learn], range(1, samples, 2)[:count]


def drawn(sampler: Conditional, given: Batch, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Returns the images that are drawn of these samples, whose numbers are the seeds, and what they were
    made from. They are drawn a block at a time."""
    made = []
    for start in range(0, len(numbers), _BLOCK):
        block = slice(start, start + _BLOCK)
        made.append(sampler.draw_given(given.map(lambda tensor, block=block: tensor[block]), numbers[block]))  # type: ignore[misc]
    return torch.cat([fakes.images for fakes in made]), torch.cat([fakes.latents for fakes in made])
