"""A family, which is one kind of model as a value, and the sampler of its trained generator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from pipeline.contracts.codecs import Codec
from pipeline.contracts.data import Batch, DataSet, Fakes, ImageSpec, Needs
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
class Evidential(Sampler, Protocol):
    """A sampler of a model that tells how likely images are, or a bound of it."""

    @property
    def values(self) -> int:
        """How many values a number of an image has under the model: 256, or 2 where images are made of
        two."""

    def evidence(
        self, images: Tensor, seeds: Sequence[int], *, classes: Sequence[int] | None = None
    ) -> Tensor:
        """Returns each image's log-probability in nats, [N], or an estimate of its evidence lower bound
        (Kingma and Welling 2014, eq. 3).

        images: of 256 values a number, as [N, C, H, W] in [-1, 1]. seeds: what each image's estimate is drawn
        from. classes: one class number per image, which a conditional model needs.
        """


@runtime_checkable
class Classifier(Sampler, Protocol):
    """A sampler of a model that tells the classes of images."""

    def classify(self, images: Tensor) -> Tensor:
        """Returns the logits of each image's classes, [N, classes]. images: [N, C, H, W] in [-1, 1]."""


@runtime_checkable
class Converging(Sampler, Protocol):
    """A sampler of a model that measures in training how far it has converged.

    convergence: that measure at the snapshot; lower is better. None before the first step.
    """

    @property
    def convergence(self) -> float | None: ...


@runtime_checkable
class Conditional(Sampler, Protocol):
    """A sampler of a model that makes images of something given, not of chance alone: of other images, texts,
    scenes. Its `draw` raises UserError until it has been told of what: see `over`.

    fields: the names of the fields that what is given must have.
    """

    @property
    def fields(self) -> tuple[str, ...]: ...

    def draw_given(self, given: Batch, seeds: Sequence[int]) -> Fakes:
        """Makes an image of each of N samples of a data set. Image i depends on sample i and seeds[i] alone.

        given: may be on another device.
        """

    def over(self, samples: DataSet) -> Conditional:
        """Returns the sampler whose `draw` makes the image of seed s of sample s modulo their number."""


@dataclass(frozen=True, slots=True)
class Translation:
    """What a translator is given and makes of it.

    channels: of the images that it takes, 1 or 3. codes: for label maps, whose values are codes below this
    number, in the place of images; higher values count as the last; otherwise 0. scale: the side of what it
    makes, as a multiple of the side of what it is given. divisor: both sides of what it is given must be
    multiples of it. least: neither may be smaller. only: both must be this; None: no matter. reach: how many
    pixels of the input away from its own place, at most, a pixel of the output depends on; None if on all.
    holes: whether it fills holes, which are given beside the image. margin: pixels along the borders in which
    it fills none.
    """

    channels: int
    codes: int = 0
    scale: int = 1
    divisor: int = 1
    least: int = 1
    only: int | None = None
    reach: int | None = None
    holes: bool = False
    margin: int = 0


@runtime_checkable
class Translator(Conditional, Protocol):
    """A conditional sampler that makes images of images, of any size."""

    @property
    def translation(self) -> Translation: ...

    def translate(self, images: Tensor, seeds: Sequence[int], holes: Tensor | None = None) -> Tensor:
        """Returns images [N, C', H * scale, W * scale] in about [-1, 1]. Image i depends on entry i alone.

        images: [N, C, H, W] in [-1, 1]; of label maps, uint8 [N, 1, H, W]. holes: [N, 1, H, W], 1 where the
        image is to be made anew, otherwise 0.
        """

    def shown(self, given: Batch, seeds: Sequence[int]) -> Tensor:
        """Returns what `draw_given` makes its images of, as pictures of the same shape."""


@runtime_checkable
class TwoWay(Translator, Protocol):
    """A translator of a model that translates in both directions."""

    def back(self) -> Translator:
        """Returns the translator of the other direction."""


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
