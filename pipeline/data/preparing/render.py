"""Pictures of a source, normalised and encoded by several processes, in the order asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pipeline.contracts import Field
from pipeline.data.preparing.beside import encoded_fields
from pipeline.data.preparing.processes import in_order
from pipeline.data.sources.source import Source
from pipeline.images.codec import encode
from pipeline.images.normalised import Target, Unreadable, fit, is_enlarged
from pipeline.images.pixels import Remark


@dataclass(frozen=True, slots=True)
class Rendered:
    """An encoded image, or None and the reason why there is none. remarks, values: as in `Plain`."""

    data: bytes | None
    reason: str = ""
    enlarged: bool = False
    meta: Mapping[str, Any] = field(default_factory=dict)
    remarks: frozenset[Remark] = frozenset()
    values: tuple[float, float] | None = None
    extra: Mapping[str, bytes] = field(default_factory=dict)


def rendered(
    source: Source, target: Target, fields: Sequence[Field], numbers: Iterable[int], workers: int
) -> Iterator[Rendered]:
    """The pictures `numbers` of `source` with their fields, rendered by `workers` processes, in the order of
    the numbers."""
    return in_order(partial(render, source, target, fields), numbers, workers)


def render(source: Source, target: Target, fields: Sequence[Field], number: int) -> Rendered:
    """One picture, read, fitted and encoded, with its fields."""
    try:
        picture = source.picture(number)
        fitted = fit(picture.image, target)
        extra = encoded_fields(picture, fields, target)
    except Unreadable as reason:
        return Rendered(None, str(reason))
    enlarged = is_enlarged(picture.image, target)
    data = encode(fitted, target.format, target.quality, "small")
    return Rendered(data, "", enlarged, picture.meta, picture.remarks, picture.values, extra)
