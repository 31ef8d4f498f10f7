"""Random numbers for a peer's loop in place of torch's own, in the order in which it asks for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor


class Supply:
    """A queue of numbers. Until the first are put in, torch's own functions answer."""

    def __init__(self) -> None:
        self._queue: deque[tuple[str, Tensor]] = deque()
        self._opened = False

    def put(self, kind: str, values: Tensor) -> None:
        """kind: "normal", "uniform" or "integers"."""
        self._opened = True
        self._queue.append((kind, values))

    def append(self, other: Supply) -> None:
        """All that another holds."""
        self._queue.extend(other._queue)

    def pop(self) -> tuple[str, Tensor]:
        """Takes back what was put first."""
        return self._queue.popleft()

    def finish(self) -> None:
        """Errors: RuntimeError if numbers are left over: the loop did not do what it was fed for."""
        if self._queue:
            left = [(kind, tuple(values.shape)) for kind, values in self._queue]
            raise RuntimeError(f"the peer's step left numbers unused: {left[:4]}")

    @contextmanager
    def feeding(self) -> Iterator[None]:
        """While it lasts, torch's functions take from the queue."""
        with ExitStack() as stack:
            for name, kind in (("randn", "normal"), ("rand", "uniform")):
                made = self._made(kind, getattr(torch, name))
                stack.enter_context(mock.patch.object(torch, name, made))
            whole = torch.randint
            stack.enter_context(
                mock.patch.object(
                    torch,
                    "randint",
                    lambda low, high, size, **_: self.take("integers", size, whole, low, high, size),
                )
            )
            like = torch.randn_like
            stack.enter_context(
                mock.patch.object(torch, "randn_like", lambda x, **_: self.take("normal", x.shape, like, x))
            )
            for name, kind in (("normal_", "normal"), ("random_", "integers"), ("uniform_", "uniform")):
                filled = self._filled(kind, getattr(Tensor, name))
                stack.enter_context(mock.patch.object(Tensor, name, filled))
            yield

    def _made(self, kind: str, original: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def make(*size: Any, **settings: Any) -> Tensor:
            first = size[0] if size else settings.get("size", ())
            shape = first if isinstance(first, Sequence) else size
            return self.take(kind, shape, original, *size, **settings)

        return make

    def _filled(self, kind: str, original: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def fill(tensor: Tensor, *rest: Any, **settings: Any) -> Tensor:
            if not self._opened:
                return original(tensor, *rest, **settings)
            with torch.no_grad():
                tensor.copy_(self.take(kind, tensor.shape, original))
            return tensor

        return fill

    def take(
        self,
        kind: str,
        shape: Sequence[int],
        original: Callable[..., Tensor] | None = None,
        *rest: Any,
        **settings: Any,
    ) -> Tensor:
        """The next numbers, in this shape; before the first were put in, what `original` makes. Errors:
        RuntimeError if they are of another kind or number."""
        if not self._opened and original is not None:
            return original(*rest, **settings)
        asked = f"the peer asks for {kind} numbers of shape {tuple(shape)}"
        if not self._queue:
            raise RuntimeError(f"{asked}, and none are left")
        given, values = self._queue.popleft()
        if given != kind or values.numel() != torch.Size(shape).numel():
            raise RuntimeError(f"{asked}; next are {given} numbers of shape {tuple(values.shape)}")
        return values.reshape(tuple(shape)).clone()
