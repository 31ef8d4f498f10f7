"""What goes through the networks: images, verdicts of them, and what an objective makes of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import reduce
from typing import Any, Literal

from torch import Tensor, nn

FieldKind = Literal["image", "mask", "text", "array"]


@dataclass(frozen=True, slots=True)
class Field:
    """What samples have beside image and label, under one name, all of one shape.

    kind, and what a batch of N has of it: "image", a picture of its own size, shape (H, W, C): float32
    [N, C, H, W] in [-1, 1]. "mask", a picture of one channel whose values mean something themselves (what is
    hidden, which part it is), shape (H, W): uint8 [N, 1, H, W]. "text", UTF-8 of at most as many bytes as the
    shape (L,) says: uint8 [N, L], zeros after its end. "array": numbers of `dtype`, [N, *shape]. Where an
    image is mirrored, its images and masks are, texts and arrays are not. dtype: numpy's name; "uint8" but
    for arrays.
    """

    name: str
    kind: FieldKind
    shape: tuple[int, ...]
    dtype: str = "uint8"


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """What the data looks like, as far as a network's shape depends on it.

    height, width: pixels. channels: 1 (grey) or 3 (RGB); of a codec's latents, as many as it makes. classes:
    number of labels, 0 if unlabelled.
    fields: what there is beside images and labels.
    """

    height: int
    width: int
    channels: int
    classes: int = 0
    fields: tuple[Field, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """For what is stored; without `fields` where there are none."""
        content = asdict(self)
        if not self.fields:
            del content["fields"]
        return content


Fixture = Callable[[Mapping[str, Tensor]], nn.Module]
"""Makes a frozen network from the tensors of its file; UserError, in one line, if they do not fit."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a family asks of a run beyond images and labels.

    fields: names of what samples must have beside their image (`ImageSpec.fields`). fixtures: frozen networks
    by name, each of which the configuration names a file of. sampling: those of them that samples need too (a
    codec). second: a second set of images, unpaired, in an order of its own.
    """

    fields: tuple[str, ...] = ()
    fixtures: Mapping[str, Fixture] = field(default_factory=dict)
    sampling: tuple[str, ...] = ()
    second: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """Real images: `images` [N, C, H, W] float32 in [-1, 1]; `labels` [N] int64 class numbers or None.

    extra: what else the samples have, by the fields' names (see `Field`). Of a second set: its images under
    SECOND, class numbers under SECOND.labels if it has classes, its own fields under SECOND.NAME; what
    stands at one place in the batch is unpaired.
    """

    images: Tensor
    labels: Tensor | None = None
    extra: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.images.shape[0]

    def map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """Every tensor changed alike (a part of it, a copy)."""
        labels = None if self.labels is None else change(self.labels)
        extra = {name: change(value) for name, value in self.extra.items()}
        return Batch(change(self.images), labels, extra)

    def tensors(self) -> list[Tensor]:
        """All of them, in one order."""
        return [self.images, *([] if self.labels is None else [self.labels]), *self.extra.values()]


SECOND = "second"
"""The name of the second set's images in `Batch.extra`."""


@dataclass(frozen=True, slots=True)
class Fakes:
    """Generated images [N, C, H, W] in about [-1, 1], or latents of such within a game that plays with those
    (`Codec`), their labels [N] or None, and the latents they
    were made from, still in the graph (StyleGAN's w, [N, layers, w_dim]), for latent-space penalties.

    levels: all that a generator with several outputs makes of a sample, each [N, C', H', W'], from the first
    or coarsest on; the last is `images`. None where there is one output. stats: what the generator measured
    on the way, detached, for `Family.observe`.
    """

    images: Tensor
    labels: Tensor | None
    latents: Tensor
    levels: tuple[Tensor, ...] | None = None
    stats: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def seen(self) -> tuple[Tensor, ...]:
        """What the discriminator sees: every level, or the images alone."""
        return (self.images,) if self.levels is None else self.levels


@dataclass(frozen=True, slots=True, init=False)
class Verdict:
    """What the discriminator says of images.

    heads: the logits of each head, float32: [N], or [N, L] of a head that judges L parts of an image by
    themselves (patches: Isola et al. 2017, section 3.2.2). Whatever a loss makes of logits is averaged over L
    and added up over heads (`per_image`). classes: class logits [N, K] from an auxiliary classifier, else
    None. stats: what the discriminator measured on the way, detached, for `Family.observe`.
    """

    heads: tuple[Tensor, ...]
    classes: Tensor | None
    stats: Mapping[str, Tensor]

    def __init__(
        self,
        heads: Tensor | Sequence[Tensor],
        classes: Tensor | None = None,
        stats: Mapping[str, Tensor] | None = None,
    ) -> None:
        """heads: a tensor is the only head."""
        # What is frozen is set once, here.
        object.__setattr__(self, "heads", (heads,) if isinstance(heads, Tensor) else tuple(heads))
        object.__setattr__(self, "classes", classes)
        object.__setattr__(self, "stats", stats or {})

    @property
    def logits(self) -> Tensor:
        """One logit an image, [N]: of several, the mean over L of each head, added up."""
        return per_image(self.heads)


def per_image(values: Sequence[Tensor]) -> Tensor:
    """One number an image, [N], of each head's [N] or [N, L]: their mean over L, added up over heads.

    As papers do whose discriminators have several logits: the mean over patches (Isola et al. 2017), the sum
    over scales (Wang et al. 2018, eq. 3) or feature networks (Sauer et al. 2022).
    """
    means = [value if value.ndim == 1 else value.flatten(1).mean(dim=1) for value in values]
    return reduce(Tensor.add, means)


@dataclass(frozen=True, slots=True)
class Terms:
    """One objective's value: `loss` [N], unreduced, to be averaged over the global batch by the trainer.

    `stats` are detached batch means (scalars or vectors) that the trainer averages over micro-batches
    and ranks, shows, and hands to `Family.observe`.
    """

    loss: Tensor
    stats: Mapping[str, Tensor] = field(default_factory=dict)
