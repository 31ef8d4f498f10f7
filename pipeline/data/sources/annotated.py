"""A source whose pictures have something beside them that a file says: a vector, a text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pipeline.contracts import Field
from pipeline.data.sources.captions import caption_field
from pipeline.data.sources.label_rows import Told
from pipeline.data.sources.source import Picture, Source
from pipeline.errors import UserError


@dataclass(frozen=True)
class Annotation:
    """A field, and what each picture has of it: rows of an array, or texts; None where there is none."""

    field: Field
    values: npt.NDArray[np.float32] | Sequence[str | None]

    def digest(self) -> str:
        """Of all values: other ones make another data set."""
        if isinstance(self.values, np.ndarray):
            data = self.values.tobytes()
        else:
            data = json.dumps(list(self.values)).encode()
        return hashlib.sha256(data).hexdigest()[:16]


def annotations_of(told: Told, where: str) -> tuple[Annotation, ...]:
    """What a label file says beside classes. Errors: UserError, if no picture has a text."""
    found = []
    if told.vectors is not None:
        field = Field("vector", "array", (told.vectors.shape[1],), "float32")
        found.append(Annotation(field, told.vectors))
    if told.captions is not None:
        lengths = [len(text.encode(errors="replace")) for text in told.captions if text is not None]
        if not lengths:
            raise UserError(f"{where}: no picture has a text")
        found.append(Annotation(caption_field(max(lengths)), told.captions))
    return tuple(found)


class AnnotatedSource:
    """Another source's pictures with their annotations beside them."""

    def __init__(self, source: Source, annotations: Sequence[Annotation]) -> None:
        self.title, self._source, self._annotations = source.title, source, annotations
        listing = source.listing
        self.listing = replace(
            listing,
            fields=(*listing.fields, *(each.field for each in annotations)),
            depends={**listing.depends, **{each.field.name: each.digest() for each in annotations}},
        )

    def picture(self, number: int) -> Picture:
        picture = self._source.picture(number)
        beside = {each.field.name: each.values[number] for each in self._annotations}
        known = {name: value for name, value in beside.items() if value is not None}
        return replace(picture, extra={**picture.extra, **known})

    def size(self, number: int) -> tuple[int, int]:
        return self._source.size(number)
