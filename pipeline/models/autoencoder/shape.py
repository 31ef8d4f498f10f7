"""The sizes of an autoencoder's layers, chosen or read from its tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from pipeline.errors import UserError

BOUNDED = "decoder.bounded"
"""The name of an empty tensor that decoders have whose images are bounded."""
GROUPS = 32
"""The groups of normalisations unless a tensor says otherwise, as in every published autoencoder."""
NORM_GROUPS = "norm_groups"
"""The name of that tensor, a number."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What determines the layers of an autoencoder, which are the same for images of any size.

    image_channels, latent_channels: those of its images and of its latents. widths: the channels of each
    level, from that of the image to the coarsest; all but the last end with resampling by two. blocks:
    residual blocks in each level of the encoder; the decoder has one more. attention: whether there is
    self-attention at the resolution of the latents. distributions: whether latents have a variance, which the
    encoder then tells. bounded: whether a hyperbolic tangent ends the decoder, so that images are in (-1, 1).
    groups: those of every normalisation; the channels of every level are a multiple of it.
    """

    image_channels: int
    latent_channels: int
    widths: tuple[int, ...]
    blocks: int = 2
    attention: bool = True
    distributions: bool = True
    bounded: bool = False
    groups: int = GROUPS

    @property
    def factor(self) -> int:
        """How many pixels a latent stands for, along each side: f of Rombach et al. 2022, section 3.1."""
        return 1 << (len(self.widths) - 1)


def shape_of(tensors: Mapping[str, Tensor]) -> Shape:
    """Returns the shape of the autoencoder with these weights. Raises UserError if they are not one's."""
    try:
        first, last = tensors["encoder.first.weight"], tensors["decoder.codes.weight"]
        # A level's width is that of its last block, and every level has equally many.
        levels = _count(tensors, "encoder.levels.")
        blocks = _count(tensors, "encoder.levels.0.blocks.")
        widths = tuple(
            tensors[f"encoder.levels.{level}.blocks.{blocks - 1}.conv2.weight"].shape[0]
            for level in range(levels)
        )
        shape = Shape(
            first.shape[1],
            last.shape[1],
            widths,
            blocks,
            attention="encoder.middle.attention.query.weight" in tensors,
            distributions=tensors["encoder.moments.weight"].shape[0] != last.shape[1],
            bounded=BOUNDED in tensors,
            groups=int(tensors[NORM_GROUPS]) if NORM_GROUPS in tensors else GROUPS,
        )
    except (KeyError, IndexError) as error:
        raise UserError(f"these are not the weights of an autoencoder: {error.args[0]} is missing") from error
    if shape.groups <= 0 or not widths or any(width <= 0 or width % shape.groups for width in widths):
        raise UserError(
            f"these are not the weights of an autoencoder: levels of {list(widths)} channels; allowed: "
            f"multiples of {shape.groups}, the groups of normalisations"
        )
    return shape


def _count(names: Iterable[str], prefix: str) -> int:
    """Returns the number of entries in the list of modules called `prefix`, from the names in it."""
    return len({name[len(prefix) :].split(".")[0] for name in names if name.startswith(prefix)})
