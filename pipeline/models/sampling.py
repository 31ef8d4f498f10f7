"""What all samplers have in common: valid labels, and images that each depend on their own seed alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from copy import copy
from typing import Self

import torch
from torch import Tensor, nn

from pipeline.contracts import PIXELS, Batch, Codec, DataSet, Fakes
from pipeline.errors import UserError
from pipeline.latents import Latents
from pipeline.randomness import SampleRandomness, derive_seed, seeded

_SAMPLES, _AT_ONCE = 4096, 512


class LatentSampler(ABC):
    """Implements contracts.Sampler and latents.LatentSpace; a subclass defines `_random`, `map` and `_made`.

    classes: the number of classes of `generator`, 0 if there are none. codec: decodes the results of
    `generator`.
    """

    def __init__(self, generator: nn.Module, classes: int, codec: Codec = PIXELS) -> None:
        self._module, self._classes, self._codec = generator, classes, codec

    @property
    def device(self) -> torch.device:
        return next(self._module.parameters()).device

    @property
    def classes(self) -> int:
        return self._classes

    @property
    def truncates(self) -> bool:
        return True

    @property
    def layers(self) -> int:
        return 1

    @abstractmethod
    def _random(self, randomness: SampleRandomness, truncation: float) -> Tensor:
        """Draws z [N, z_dim] from the samples' streams. Raises UserError for a truncation that the family
        does not support."""

    @abstractmethod
    def map(self, z: Tensor, labels: Tensor | None, *, truncation: float = 1.0) -> Tensor: ...

    @abstractmethod
    def _made(self, codes: Tensor) -> Tensor:
        """Runs the generator on codes [N, layers, dim]; returns images, or latents of the codec."""

    def synthesise(self, codes: Tensor) -> Tensor:
        return self._codec.decode(self._made(codes))

    def latents(
        self, seeds: Sequence[int], *, classes: Sequence[int] | None = None, truncation: float = 1.0
    ) -> Latents:
        """Returns the latents that `draw` starts from. Raises UserError for classes that the model does not
        have, or whose number is not that of the seeds."""
        # Random numbers come from the CPU so that a seed stands for the same image on every kind of device.
        randomness = SampleRandomness(seeds, self.device, source="cpu")
        z = self._random(randomness, truncation)
        return Latents(z, labels_of(len(seeds), classes, self.classes, randomness, self.device))

    @torch.no_grad()
    def draw(
        self,
        seeds: Sequence[int],
        *,
        classes: Sequence[int] | None = None,
        truncation: float = 1.0,
    ) -> Fakes:
        """Draws one image per seed; raises as `latents`. On a CPU images are made one by one and have the
        same bits in any batch. On other devices a batch is one computation, and rounding may depend on its
        size."""
        z, labels = self.latents(seeds, classes=classes, truncation=truncation)
        size = 1 if self.device.type == "cpu" else max(len(seeds), 1)
        images, used = [], []
        for i in range(0, max(len(seeds), 1), size):
            part = None if labels is None else labels[i : i + size]
            codes = self.map(z[i : i + size], part, truncation=truncation)
            images.append(self.synthesise(codes))
            used.append(self._known(z[i : i + size], codes))
        return Fakes(torch.cat(images), labels, torch.cat(used))

    def _known(self, z: Tensor, codes: Tensor) -> Tensor:
        """Returns what `draw` reports as `Fakes.latents`."""
        return z


class MeanCodes:
    """The mean codes that truncation pulls towards: the mean over z of `mapping(z, labels)`, of each class.

    A mean is computed when it is first needed, from the mapping as it is then, over 4,096 z of a fixed seed;
    in float64, so that it is the same on every device and with any number of threads.
    """

    def __init__(self, mapping: Callable[[Tensor, Tensor | None], Tensor], z_dim: int) -> None:
        self._mapping, self._z_dim = mapping, z_dim
        self._known: dict[int | None, Tensor] = {}

    def of(self, labels: Tensor | None, device: torch.device) -> Tensor:
        """Returns the means of these classes, [N, dim], or without classes that of all z, [1, dim]."""
        numbers = [None] if labels is None else labels.tolist()
        return torch.stack([self.mean(number, device) for number in numbers])

    @torch.no_grad()
    def mean(self, label: int | None, device: torch.device) -> Tensor:
        """Returns the mean of one class, [dim] float32."""
        if label not in self._known:
            total = torch.zeros([], dtype=torch.float64, device=device)
            numbers = seeded(derive_seed("class mean"))
            z = torch.randn(_SAMPLES, self._z_dim, generator=numbers).double().to(device)
            labels = None if label is None else torch.full((_AT_ONCE,), label, device=device)
            for part in torch.split(z, _AT_ONCE):
                total = total + self._mapping(part, labels).sum(0)
            self._known[label] = (total / _SAMPLES).float()
        return self._known[label]


def labels_of(
    count: int,
    classes: Sequence[int] | None,
    known: int,
    randomness: SampleRandomness,
    device: torch.device,
) -> Tensor | None:
    """Returns class numbers [count], as given or drawn from the seeds; None for a model without classes.

    known: the number of classes of the model. Raises UserError as `LatentSampler.latents`.
    """
    if not known:
        if classes is not None:
            raise UserError("classes: this model was trained without labels; leave the classes out")
        return None
    if classes is None:
        return randomness.integers(known)
    if len(classes) != count:
        raise UserError(f"classes: {len(classes)} for {count} seeds; give one class an image")
    wrong = [c for c in classes if not 0 <= c < known]
    if wrong:
        raise UserError(f"classes: this model has no class {wrong[0]}; allowed: 0 to {known - 1}")
    return torch.tensor(list(classes), dtype=torch.int64, device=device)


class GivenSampler(ABC):
    """Implements contracts.Conditional for a model without classes; a subclass defines `_made`.

    kind: what the family is called, for errors. fields: the names of the fields that samples must have. data:
    what `draw` makes its images of; None until `over` tells it.
    """

    def __init__(
        self, generator: nn.Module, kind: str, fields: tuple[str, ...], data: DataSet | None = None
    ) -> None:
        self._module, self._kind, self._fields, self._data = generator, kind, fields, data

    @property
    def device(self) -> torch.device:
        return next(self._module.parameters()).device

    @property
    def fields(self) -> tuple[str, ...]:
        return self._fields

    def over(self, samples: DataSet) -> Self:
        told = copy(self)
        told._data = samples
        return told

    def draw(
        self,
        seeds: Sequence[int],
        *,
        classes: Sequence[int] | None = None,
        truncation: float = 1.0,
    ) -> Fakes:
        """As `draw_given`, of the data set's samples. Raises UserError without one, and for classes or a
        truncation."""
        if classes is not None:
            raise UserError("classes: this model was trained without labels; leave the classes out")
        if truncation != 1:
            raise UserError(f"truncation={truncation}: {self._kind} has nothing to pull towards; allowed: 1")
        if self._data is None:
            raise UserError(
                f"{self._kind} makes images of what it is given, and was given nothing; --inputs names a "
                "data set; hrgan translate takes pictures, and hrgan generate --text texts"
            )
        numbers = [seed % len(self._data) for seed in seeds]
        return self.draw_given(self._data.batch(numbers), seeds)

    @torch.no_grad()
    def draw_given(self, given: Batch, seeds: Sequence[int]) -> Fakes:
        """On a CPU images are made one by one and have the same bits in any batch."""
        size = 1 if self.device.type == "cpu" else max(len(seeds), 1)
        parts = []
        for i in range(0, len(seeds), size):
            some = given.map(lambda x, i=i: x[i : i + size].to(self.device))  # type: ignore[misc]
            parts.append(self._made(some, self._randomness(seeds[i : i + size])))
        labels = [part.labels for part in parts if part.labels is not None]
        return Fakes(
            torch.cat([part.images for part in parts]),
            torch.cat(labels) if labels else None,
            torch.cat([part.latents for part in parts]),
        )

    def _randomness(self, seeds: Sequence[int]) -> SampleRandomness:
        # From the CPU, so that a seed stands for the same image on every kind of device.
        return SampleRandomness(seeds, self.device, source="cpu")

    @abstractmethod
    def _made(self, given: Batch, randomness: SampleRandomness) -> Fakes:
        """Makes an image of each sample. `Fakes.latents` are what they were made of, one entry an image."""
