"""Brings the buffers of a generator in line with parameters that no training step has left there."""

from __future__ import annotations

from itertools import chain
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from pipeline.contracts import Family, Networks, Stage
from pipeline.models.layers import gather_statistics
from pipeline.randomness import SampleRandomness, derive_seed

_BATCHES, _BATCH = 32, 32


@runtime_checkable
class Settling(Protocol):
    """A layer with buffers that follow from its parameters alone."""

    def settle(self) -> None:
        """Computes these buffers from the parameters as they are."""


@torch.no_grad()
def settle(family: Family, generator: nn.Module, stage: Stage) -> None:
    """Computes what follows from the parameters of `generator` anew: the buffers of `Settling` layers (power
    iterations, the mean of w), then the running statistics of batch normalisation, over 1,024 images of fixed
    seeds. Other buffers, such as noise constants and magnitudes, stay as they are. Leaves the generator in
    eval mode.

    stage: the one that the generator has reached.
    """
    generator.eval()
    for module in generator.modules():
        if isinstance(module, Settling):
            module.settle()
    device = next(chain(generator.parameters(), generator.buffers())).device

    def play(batch: int) -> None:
        seeds = [derive_seed("settling", batch * _BATCH + number) for number in range(_BATCH)]
        randomness = SampleRandomness(seeds, device, source="cpu")
        family.game(Networks(generator, nn.Module()), stage, randomness).generate(_BATCH, exact=True)

    gather_statistics(generator, _BATCHES, play)
