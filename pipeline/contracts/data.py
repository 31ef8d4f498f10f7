"""What goes through the networks: images, the discriminator's verdicts, and the terms of an objective."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import reduce
from typing import Any, Literal, Protocol

from torch import Tensor, nn

FieldKind = Literal["image", "mask", "text", "array"]


@dataclass(frozen=True, slots=True)
class Field:
    """A named member that every sample has beside its image and label; all samples' have the same shape.

    kind: what it is, and what a batch of N samples holds of it:
    "image": a picture of its own size, shape (H, W, C); float32 [N, C, H, W] in [-1, 1].
    "mask": a picture of one channel whose values are codes (hidden or not, which part), shape (H, W);
    uint8 [N, 1, H, W].
    "text": at most L bytes of UTF-8, shape (L,); uint8 [N, L], padded with zeros.
    "array": numbers of type `dtype`; [N, *shape].
    When a sample is mirrored, so are its images and masks; texts and arrays are not.
    dtype: the type's name in numpy; always "uint8" except for arrays.
    """

    name: str
    kind: FieldKind
    shape: tuple[int, ...]
    dtype: str = "uint8"


COLOURS: Mapping[int, str] = {1: "grey", 3: "RGB", 4: "RGBA"}
"""The numbers of channels that images may have, and what they are called. A is opacity."""


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """The properties of the data that a network's shape depends on.

    height, width: the size in pixels. channels: as `COLOURS` has them; for the latents of a codec, as many as
    it makes. classes: the number of classes, 0 if the data is unlabelled.
    fields: the members that samples have beside images and labels.
    """

    height: int
    width: int
    channels: int
    classes: int = 0
    fields: tuple[Field, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Returns the content as it is stored on disk; `fields` is left out if there are none."""
        content = asdict(self)
        if not self.fields:
            del content["fields"]
        return content


Fixture = Callable[[Mapping[str, Tensor]], nn.Module]
"""Makes a frozen network from the tensors of its file. Raises UserError if they do not fit."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a family requires of a run beyond images and labels.

    fields: the names of the members that samples must have beside their image (`ImageSpec.fields`).
    fixtures: frozen networks by name; the configuration gives a file for each. sampling: the names of those
    fixtures that drawing samples needs too (a codec). second: whether the family trains on a second,
    unpaired set of images, which is read in an order of its own. upright: whether no sample may be mirrored,
    since fields say where things are, or which is left of which.
    """

    fields: tuple[str, ...] = ()
    fixtures: Mapping[str, Fixture] = field(default_factory=dict)
    sampling: tuple[str, ...] = ()
    second: bool = False
    upright: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """Real images: `images` [N, C, H, W] float32 in [-1, 1]; `labels` [N] int64 class numbers or None.

    extra: the samples' further members, by the names of their fields (see `Field`). A second set's images
    are under SECOND, its class numbers (if it has classes) under SECOND.labels, and its fields under
    SECOND.NAME. Entries of the two sets at the same place in the batch are not related.
    """

    images: Tensor
    labels: Tensor | None = None
    extra: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.images.shape[0]

    def map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """Returns a batch with `change` (a slice, a copy) applied to every tensor."""
        labels = None if self.labels is None else change(self.labels)
        extra = {name: change(value) for name, value in self.extra.items()}
        return Batch(change(self.images), labels, extra)

    def tensors(self) -> list[Tensor]:
        """Returns all tensors, always in the same order."""
        return [self.images, *([] if self.labels is None else [self.labels]), *self.extra.values()]


class DataSet(Protocol):
    """The samples of a data set, by their numbers from 0 on."""

    def __len__(self) -> int: ...

    def batch(self, numbers: Sequence[int]) -> Batch:
        """Returns these samples as they are stored, not mirrored, on the CPU."""


SECOND = "second"
"""The key of the second set's images in `Batch.extra`."""


@dataclass(frozen=True, slots=True)
class Fakes:
    """What the generator made.

    images: [N, C, H, W] in about [-1, 1]; in a game that works on a codec's latents, such latents (`Codec`).
    labels: class numbers [N], or None. latents: what the images were made from, still in the graph for
    penalties in latent space (StyleGAN's w, [N, layers, w_dim]). levels: all outputs of a generator that has
    several, each [N, C', H', W'], the first or coarsest one first; the last is `images`. None for a
    generator with one output. stats: what the generator measured on the way, detached, for `Family.observe`.
    """

    images: Tensor
    labels: Tensor | None
    latents: Tensor
    levels: tuple[Tensor, ...] | None = None
    stats: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def seen(self) -> tuple[Tensor, ...]:
        """What the discriminator sees: all levels, or the images if there are none."""
        return (self.images,) if self.levels is None else self.levels


@dataclass(frozen=True, slots=True, init=False)
class Verdict:
    """The discriminator's judgement of N images.

    heads: the logits of each head, float32: [N], or [N, L] from a head that judges L parts of an image
    separately (patches: Isola et al. 2017, section 3.2.2). A loss is averaged over L and summed over heads
    (`per_image`). classes: class logits [N, K] from an auxiliary classifier, or None. stats: what the
    discriminator measured on the way, detached, for `Family.observe`. extra: what else the pass gives, one
    entry an image, still in the graph, for terms that a family adds to its turns.
    """

    heads: tuple[Tensor, ...]
    classes: Tensor | None
    stats: Mapping[str, Tensor]
    extra: Mapping[str, Tensor]

    def __init__(
        self,
        heads: Tensor | Sequence[Tensor],
        classes: Tensor | None = None,
        stats: Mapping[str, Tensor] | None = None,
        extra: Mapping[str, Tensor] | None = None,
    ) -> None:
        """heads: the heads' logits in sequence, or the tensor of the only head."""
        # The dataclass is frozen: this is the one place where its fields are set.
        object.__setattr__(self, "heads", (heads,) if isinstance(heads, Tensor) else tuple(heads))
        object.__setattr__(self, "classes", classes)
        object.__setattr__(self, "stats", stats or {})
        object.__setattr__(self, "extra", extra or {})

    @property
    def logits(self) -> Tensor:
        """One logit per image, [N]: each head's mean over L, summed over heads."""
        return per_image(self.heads)


def per_image(values: Sequence[Tensor]) -> Tensor:
    """Reduces the heads' values, each [N] or [N, L], to one number per image, [N]: the mean over L, summed
    over heads.

    Papers whose discriminators have several logits do the same: they take the mean over patches (Isola et al.
    2017) and the sum over scales (Wang et al. 2018, eq. 3) or feature networks (Sauer et al. 2022).
    """
    means = [value if value.ndim == 1 else value.flatten(1).mean(dim=1) for value in values]
    return reduce(Tensor.add, means)


@dataclass(frozen=True, slots=True)
class Terms:
    """The value of one objective: `loss` [N], unreduced, which the trainer averages over the global batch.

    `stats` are detached means over the batch (scalars or vectors), which the trainer averages over
    micro-batches and ranks, shows, and passes to `Family.observe`.
    """

    loss: Tensor
    stats: Mapping[str, Tensor] = field(default_factory=dict)
