"""Pictures of a source, normalised and encoded by several processes, in the order asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from PIL import Image

from pipeline.contracts import Field
from pipeline.data.preparing.beside import encoded_fields
from pipeline.data.preparing.choosing import ALL, Choice, Unwanted
from pipeline.data.preparing.faces import Faces
from pipeline.data.preparing.framing import Fitted, Framed, Framing
from pipeline.data.preparing.processes import in_order
from pipeline.data.sources.source import Picture, Source
from pipeline.images.codec import encode
from pipeline.images.normalised import Target, Unreadable
from pipeline.images.pixels import Remark
from pipeline.images.quality import sharpness


@dataclass(frozen=True, slots=True)
class Rendered:
    """An encoded image, or None and the reason why there is none. remarks, values: as in `Plain`. size, mode:
    of the picture as it was read. content: see `content_of`. wanted: false if it was asked to be left out.
    sharpness: if it was measured."""

    data: bytes | None
    reason: str = ""
    enlarged: bool = False
    meta: Mapping[str, Any] = field(default_factory=dict)
    remarks: frozenset[Remark] = frozenset()
    values: tuple[float, float] | None = None
    extra: Mapping[str, bytes] = field(default_factory=dict)
    size: tuple[int, int] = (0, 0)
    mode: str = ""
    content: int = 0
    wanted: bool = True
    sharpness: float | None = None


@dataclass(frozen=True)
class Recipe:
    """What pictures are made into, and which of them. faces: their places, if they are aligned."""

    target: Target
    fields: Sequence[Field] = ()
    choice: Choice = ALL
    faces: Faces | None = None


@dataclass(frozen=True)
class Made:
    """A picture of a source, and the image that becomes of it. framing: how it came to its shape."""

    picture: Picture
    image: Image.Image
    framing: Framing
    sharpness: float | None


def rendered(source: Source, recipe: Recipe, numbers: Iterable[int], workers: int) -> Iterator[Rendered]:
    """The pictures `numbers` of `source` with their fields, rendered by `workers` processes, in the order of
    the numbers."""
    return in_order(partial(render, source, recipe), numbers, workers, partial(Rendered, None))


def render(source: Source, recipe: Recipe, number: int) -> Rendered:
    """One picture, read, fitted and encoded, with its fields."""
    try:
        made = make(source, recipe, number)
        extra = encoded_fields(made.picture, recipe.fields, recipe.target, made.framing)
    except Unreadable as reason:
        return Rendered(None, str(reason))
    except Unwanted as reason:
        return Rendered(None, str(reason), wanted=False)
    picture, target = made.picture, recipe.target
    data = encode(made.image, target.format, target.quality, "small")
    enlarged, image = made.framing.is_enlarged(picture.image, target), picture.image
    return Rendered(
        data,
        "",
        enlarged,
        picture.meta,
        picture.remarks,
        picture.values,
        extra,
        image.size,
        image.mode,
        content_of(image),
        sharpness=made.sharpness,
    )


def content_of(image: Image.Image) -> int:
    """64 bits of a hash of a picture's size and pixels as they were read, before it is cropped and resized:
    the same for the same picture under another name or in another lossless format."""
    digest = hashlib.blake2b(f"{image.mode} {image.size}".encode(), digest_size=8)
    digest.update(image.tobytes())
    return int.from_bytes(digest.digest(), "little")


def make(source: Source, recipe: Recipe, number: int) -> Made:
    """One picture, read and fitted. Errors: Unreadable; Unwanted."""
    picture, choice, target = source.picture(number), recipe.choice, recipe.target
    size = picture.image.size
    framing: Framing = Fitted()
    if recipe.faces is not None:
        framing = Framed(recipe.faces.corners(number, size), size)
    choice.check_shape(*framing.size(picture.image))
    image = framing.image(picture.image, target)
    measured = None if choice.min_sharpness is None else sharpness(image)
    if measured is not None:
        choice.check_sharpness(measured)
    return Made(picture, image, framing, measured)
