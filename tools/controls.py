"""What tools compare a model with: an untrained one of its kind, and samples of data in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from launch.assembly.sampling import generator_of
from pipeline.contracts import Batch, Family, Sampler
from pipeline.data.streaming.numbered import NumberedSamples
from pipeline.randomness import seed_everything
from pipeline.storage.snapshots import open_snapshot


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
