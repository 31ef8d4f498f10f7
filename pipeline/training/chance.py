"""Random numbers drawn before the arithmetic that uses them, so that it is a function of its inputs alone.

Which numbers a phase asks for depends on its shapes and not on the values it computes, so it is enough to
record the requests once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from pipeline.contracts import Randomness


class Request(NamedTuple):
    """One draw: the method that was called, the number of samples, and the arguments."""

    kind: str
    samples: int
    arguments: tuple[int, ...]


class Noted:
    """Passes every draw on to `source` and records it in `requests`, in order."""

    def __init__(self, source: Randomness, requests: list[Request] | None = None) -> None:
        self._source = source
        self.requests: list[Request] = [] if requests is None else requests

    @property
    def count(self) -> int:
        return self._source.count

    def normal(self, *shape: int) -> Tensor:
        return self._note("normal", shape)

    def uniform(self, *shape: int) -> Tensor:
        return self._note("uniform", shape)

    def integers(self, high: int, *shape: int) -> Tensor:
        return self._note("integers", (high, *shape))

    def first(self, count: int) -> Noted:
        return Noted(self._source.first(count), self.requests)

    def _note(self, kind: str, arguments: tuple[int, ...]) -> Tensor:
        request = Request(kind, self.count, arguments)
        self.requests.append(request)
        return _answer(self._source, request)


def draw(source: Randomness, requests: Sequence[Request]) -> list[Tensor]:
    """Returns the numbers that `source` gives for these requests, made in this order."""
    return [_answer(source.first(request.samples), request) for request in requests]


def _answer(source: Randomness, request: Request) -> Tensor:
    numbers: Tensor = getattr(source, request.kind)(*request.arguments)
    return numbers


class Drawn:
    """Gives out numbers that were drawn beforehand, to the same requests in the same order.

    Raises RuntimeError if other numbers are asked for than were drawn.
    """

    def __init__(self, count: int, requests: Sequence[Request], numbers: Sequence[Tensor]) -> None:
        self._count = count
        self._coming = iter(list(zip(requests, numbers, strict=True)))

    @property
    def count(self) -> int:
        return self._count

    def normal(self, *shape: int) -> Tensor:
        return self._next("normal", shape)

    def uniform(self, *shape: int) -> Tensor:
        return self._next("uniform", shape)

    def integers(self, high: int, *shape: int) -> Tensor:
        return self._next("integers", (high, *shape))

    def first(self, count: int) -> Drawn:
        part = Drawn(count, (), ())
        part._coming = self._coming
        return part

    def _next(self, kind: str, arguments: tuple[int, ...]) -> Tensor:
        asked = Request(kind, self._count, arguments)
        drawn = next(self._coming, None)
        if drawn is None or drawn[0] != asked:
            present = "nothing more" if drawn is None else drawn[0]
            raise RuntimeError(f"random numbers asked for: {asked}; drawn beforehand: {present}")
        return drawn[1]
