"""A family, which is one kind of model as a value, and the sampler of its trained generator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

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
        """Draws one image per seed. Image i depends only on seeds[i], its class and the truncation psi, not
        on the other images.

        classes: one class number per image; with None, a conditional model draws them from the seeds.
        """


@runtime_checkable
class Reconstructor(Sampler, Protocol):
    """A sampler of a model that also encodes images and decodes them again."""

    def reconstruct(self, images: Tensor) -> Tensor:
        """Returns images [N, C, H, W] in about [-1, 1], each made from one of the given, which are in
        [-1, 1], and from nothing else."""


@runtime_checkable
class Evidential(Reconstructor, Protocol):
    """A reconstructor that bounds how likely images are under its model."""

    def evidence(self, images: Tensor, seeds: Sequence[int]) -> Tensor:
        """Returns an estimate of the evidence lower bound of each image's log-probability, in nats, [N]
        (Kingma and Welling 2014, eq. 3).

        images: of 256 values a number, as [N, C, H, W] in [-1, 1]. seeds: what each image's estimate is drawn
        from.
        """


class Family(Protocol):
    """One kind of GAN as a value: networks, schedule, phases, game, sampler. It contains no loop.

    spec: the images of the data, in pixels. codec: translates those pixels into what the networks see.
    schedule: the plan of stages. phases: the turns of a step, in order. optimizers: the rule of each network.
    memory: a module whose buffers are what the family remembers across steps beside weights (ADA's p, the
    mean path length); they are saved in every checkpoint and equal on all ranks. needs: what the family
    requires of a run beyond images and labels. fixtures: the frozen networks that `needs` names, which are
    put here, on the device, before the first game; they are in no optimizer, average, checkpoint or snapshot.
    """

    spec: ImageSpec
    schedule: Schedule
    phases: tuple[Phase, ...]
    optimizers: Mapping[Net, Rule]
    memory: nn.Module
    fixtures: Mapping[str, nn.Module]

    @property
    def codec(self) -> Codec: ...

    @property
    def needs(self) -> Needs: ...

    def networks(self) -> Networks:
        """Returns freshly initialised networks; their weights are drawn from torch's global generator."""

    def game(
        self, networks: Networks, stage: Stage, randomness: Randomness, reals: Batch | None = None
    ) -> Game:
        """Returns the game of one micro-batch.

        reals: the micro-batch, for games whose fakes or verdicts depend on its images and extras (pix2pix);
        None where there are no reals (sampling, statistics).
        """

    def check_batch(self, images: int) -> None:
        """Raises UserError if the networks cannot process `images` images at once on one rank (minibatch
        statistics)."""

    def observe(self, networks: Networks, stats: Mapping[str, Tensor], images: int) -> None:
        """Updates the memory (ADA's p, the mean path length) and running buffers (w_avg) once per step.

        stats: the step's stats, averaged over all ranks. images: the number of images of the step. This
        method must not wait for the device. A stat that is not finite, from a step whose update was skipped,
        must leave what depends on it unchanged.
        """

    def figures(self) -> Mapping[str, Tensor]:
        """Returns the figures of the memory that are shown to users, 0-d, by their names in the log
        ("state/ada_p")."""

    def sampler(self, generator: nn.Module, stage: Stage | None = None) -> Sampler:
        """Returns a sampler that draws images in pixels, at the resolution of the data.

        stage: the stage that the generator has reached; None for a fully trained one.
        """
