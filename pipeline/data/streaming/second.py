"""A second set of images beside the first: unpaired, in an order of its own at the same position."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from types import TracebackType

from torch import Tensor

from pipeline.contracts import SECOND, Batch
from pipeline.data.streaming.stream import ImageStream


class TwoStreams:
    """Batches of `first`, with those of `second` in `Batch.extra` (see `contracts.Batch`).

    Both are functions of their seeds and the images seen alone, so that nothing more is to be stored: the
    second set begins its epochs where its own length ends them.
    """

    def __init__(self, first: ImageStream, second: ImageStream) -> None:
        self._first, self._second = first, second

    @property
    def damaged(self) -> int:
        """Images of either set that were damaged and replaced so far."""
        return self._first.damaged + self._second.damaged

    @property
    def retries(self) -> int:
        """Requests of both to stores that had to be made again so far."""
        return self._first.retries + self._second.retries

    @cached_property
    def others(self) -> TwoStreams:
        """Another order of both sets; it ends with this one."""
        return TwoStreams(self._first.others, self._second.others)

    def draw(self, batch_size: int, times: int = 1, *, resolution: int | None = None) -> list[Batch]:
        """As `ImageStream.draw`, of both."""
        batches = self._first.draw(batch_size, times, resolution=resolution)
        seconds = self._second.draw(batch_size, times, resolution=resolution)
        return [
            replace(batch, extra={**batch.extra, **_named(second)})
            for batch, second in zip(batches, seconds, strict=True)
        ]

    def close(self) -> None:
        """Stops the workers of both."""
        self._first.close()
        self._second.close()

    def __enter__(self) -> TwoStreams:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _named(batch: Batch) -> dict[str, Tensor]:
    named = {SECOND: batch.images}
    if batch.labels is not None:
        named[f"{SECOND}.labels"] = batch.labels
    return named | {f"{SECOND}.{name}": value for name, value in batch.extra.items()}
