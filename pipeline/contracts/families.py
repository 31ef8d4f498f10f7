"""One kind of model as a value, and what draws from what it learnt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from torch import Tensor, nn

from pipeline.contracts.codecs import Codec
from pipeline.contracts.data import Batch, Fakes, ImageSpec, Needs
from pipeline.contracts.optimizers import Rule
from pipeline.contracts.players import Game, Networks, Phase, Randomness
from pipeline.contracts.stages import Net, Schedule, Stage


class Sampler(Protocol):
    """Makes images from a trained (averaged) generator."""

    def draw(
        self,
        seeds: Sequence[int],
        *,
        classes: Sequence[int] | None = None,
        truncation: float = 1.0,
    ) -> Fakes:
        """Image i depends on seeds[i] (and its class and truncation psi) alone, not on its neighbours.

        classes: one class number an image; None lets a conditional model draw it from the seed.
        """


class Family(Protocol):
    """One kind of GAN as data: networks, schedule, phases, game, sampler. It owns no loop.

    codec: between the data's pixels and what the networks see; `spec` is the pixels'.
    memory: what the family remembers across steps beyond weights (ADA's p, the path-length mean),
    as buffers of a module: saved in every checkpoint, equal on all ranks. needs: of a run, beyond images and
    labels. fixtures: the frozen networks that `needs` names, put there on the device before the first game;
    they are in no optimizer, average, checkpoint or snapshot.
    """

    spec: ImageSpec
    codec: Codec
    schedule: Schedule
    phases: tuple[Phase, ...]
    optimizers: Mapping[Net, Rule]
    memory: nn.Module
    needs: Needs
    fixtures: Mapping[str, nn.Module]

    def networks(self) -> Networks:
        """Freshly initialised networks, from torch's global generator."""

    def game(
        self, networks: Networks, stage: Stage, randomness: Randomness, reals: Batch | None = None
    ) -> Game:
        """The game of one micro-batch. reals: it, for games whose fakes or verdicts depend on its images and
        extras (pix2pix); None where there is none (sampling, statistics)."""

    def check_batch(self, images: int) -> None:
        """UserError if the networks cannot take `images` at once on one rank (minibatch statistics)."""

    def observe(self, networks: Networks, stats: Mapping[str, Tensor], images: int) -> None:
        """Called once a step with the step's stats averaged over all ranks and `images`, the images
        of this step: moves the memory (ADA's p, path-length mean) and running buffers (w_avg).
        It must not wait for the device. A stat that is not finite (of a step whose update was
        skipped) must leave what it feeds as it was."""

    def figures(self) -> Mapping[str, Tensor]:
        """What people are shown of the memory as it is now, 0-d, by the names of the log ("state/ada_p")."""

    def sampler(self, generator: nn.Module, stage: Stage | None = None) -> Sampler:
        """Samples in pixels, of the data's resolution, from a generator as it is at `stage`; None: fully
        trained."""
