"""What translators are given, made of a data set's samples: a field, or the image itself made worse."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.contracts import Batch, Field, ImageSpec, Randomness, Translation
from pipeline.errors import UserError


@dataclass(frozen=True)
class FieldGiven:
    """A field of the samples: an image as it is, or a label map as one channel a code, and one more that is
    1 where the code of a neighbour differs (Wang et al. 2018, section 3.3).

    codes: the number of codes of a label map; 0 for an image.
    """

    field: Field
    codes: int = 0
    edges: bool = False

    @property
    def fields(self) -> tuple[str, ...]:
        return (self.field.name,)

    @property
    def channels(self) -> int:
        return self.codes + self.edges if self.codes else self.field.shape[2]

    def inputs(self, reals: Batch, randomness: Randomness) -> Tensor:
        return self.taken(reals.extra[self.field.name])

    @property
    def translation(self) -> Translation:
        return Translation(1 if self.codes else self.channels, self.codes)

    def taken(self, given: Tensor, holes: Tensor | None = None) -> Tensor:
        if not self.codes:
            return given
        parts = [F.one_hot(given[:, 0].long().clamp(max=self.codes - 1), self.codes).permute(0, 3, 1, 2)]
        if self.edges:
            parts.append(borders(given))
        return torch.cat(parts, dim=1).float()

    def finished(self, images: Tensor, inputs: Tensor) -> Tensor:
        return images

    def shown(self, inputs: Tensor, size: tuple[int, int], channels: int) -> Tensor:
        if not self.codes:
            return in_channels(inputs, channels)
        codes = inputs[:, : self.codes].argmax(dim=1, keepdim=True)
        return in_channels(codes / max(self.codes - 1, 1) * 2 - 1, channels)


def field_given(spec: ImageSpec, name: str, codes: int, *, edges: bool, key: str) -> FieldGiven:
    """Returns how that field of the data is given. key: the setting that names it, for errors. Raises
    UserError if the data lack it or it is of another kind or size."""
    kind = "mask" if codes else "image"
    chosen = [field for field in spec.fields if field.name == name]
    if not chosen:
        there = ", ".join(field.name for field in spec.fields) or "none"
        raise UserError(f"{key}={name}: the data's samples have no such field; they have {there}")
    (field,) = chosen
    if field.kind != kind:
        wanted = "images (family.codes=0)" if kind == "image" else f"label maps (family.codes={codes})"
        raise UserError(f"{key}={name}: a field of kind {field.kind}; {wanted} are of kind {kind}")
    if field.shape[:2] != (spec.height, spec.width):
        raise UserError(
            f"{key}={name}: of {field.shape[0]}x{field.shape[1]} (height x width) beside images of "
            f"{spec.height}x{spec.width}; allowed: the same size"
        )
    return FieldGiven(field, codes, edges)


def borders(codes: Tensor) -> Tensor:
    """Returns 1 where a pixel of [N, 1, H, W] differs from one of its four neighbours, otherwise 0."""
    edge = torch.zeros_like(codes, dtype=torch.bool)
    across, down = codes[..., 1:] != codes[..., :-1], codes[..., 1:, :] != codes[..., :-1, :]
    edge[..., 1:] |= across
    edge[..., :-1] |= across
    edge[..., 1:, :] |= down
    edge[..., :-1, :] |= down
    return edge


def in_channels(images: Tensor, channels: int) -> Tensor:
    """Returns pictures with so many channels: grey is repeated, and colours beyond are left out."""
    return images.expand(-1, channels, -1, -1) if images.shape[1] == 1 else images[:, :channels]
