"""Passes that are made again as they were.

Blocks recompute their activations in the backward pass and do not keep them, which saves memory at the cost
of one more forward pass (Chen et al. 2016, "Training deep nets with sublinear memory cost"). Networks judge
again what they have judged, slightly moved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop

_Place = tuple[nn.Module, str]


class Recomputable(nn.Module):
    """A block whose `compute(...)` runs again in the backward pass after `recompute_blocks` was called.

    `compute` must be a function of its inputs, parameters and buffers and must not draw random numbers. A
    layer inside the block whose `forward` changes buffers (running statistics, power iteration) names them in
    a class attribute `moves: tuple[str, ...]`. The second pass then sees these buffers as the first one did,
    and its changes to them are undone, even if other passes came in between. Gradients have the same bits,
    and derivatives of any order work. Copies made before `recompute_blocks` keep their activations.
    """

    compute: Callable[..., Any]
    """What the block does; subclasses define it."""
    _recomputes = False

    def forward(self, *inputs: Any, **settings: Any) -> Any:
        if not self._recomputes or not torch.is_grad_enabled():
            return self.compute(*inputs, **settings)
        moving, versions = _moving(self), _versions(self)
        before = _values(moving)

        def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
            return _unchanged_but(versions, moving), _AsBefore(before)

        # Without early stop: it works by an exception in the middle of an operation that saves its own
        # result, whose memory would then never be freed.
        with set_checkpoint_early_stop(False):
            # preserve_rng_state: saving the device's state would wait for it, and no random numbers are
            # drawn.
            return checkpoint(
                self.compute,
                *inputs,
                use_reentrant=False,
                preserve_rng_state=False,
                context_fn=contexts,
                **settings,
            )


def recompute_blocks(module: nn.Module) -> int:
    """Makes every `Recomputable` part of `module` recompute in the backward pass from now on; returns their
    number."""
    parts = [part for part in module.modules() if isinstance(part, Recomputable)]
    for part in parts:
        part._recomputes = True
    return len(parts)


class Again:
    """Contexts for passes of `network` that repeat each other: those after the first see the buffers that a
    pass changes (`Recomputable`: `moves`) as the first did, and leave no trace in them."""

    def __init__(self, network: nn.Module) -> None:
        self._moving = _moving(network)
        self._before: _AsBefore | None = None

    def __call__(self) -> AbstractContextManager[None]:
        """Returns the context of the next pass."""
        if self._before is not None:
            return self._before
        self._before = _AsBefore(_values(self._moving))
        return nullcontext()


def _moving(block: nn.Module) -> list[_Place]:
    return [(module, name) for module in block.modules() for name in getattr(module, "moves", ())]


def _buffer(module: nn.Module, name: str) -> Tensor:
    buffer = module._buffers[name]
    assert buffer is not None, f"{name}: not a buffer of {type(module).__name__}"
    return buffer


def _values(moving: list[_Place]) -> list[tuple[nn.Module, str, Tensor]]:
    return [(module, name, _buffer(module, name).clone()) for module, name in moving]


def _versions(block: nn.Module) -> list[tuple[nn.Module, str, Tensor, int]]:
    """Returns every buffer of `block` with the number of in-place changes so far."""
    return [
        (module, name, buffer, buffer._version)
        for module in block.modules()
        for name, buffer in module.named_buffers(recurse=False)
    ]


@contextmanager
def _unchanged_but(
    versions: list[tuple[nn.Module, str, Tensor, int]], moving: list[_Place]
) -> Iterator[None]:
    """Raises RuntimeError if a buffer changes inside that its layer does not name in `moves`, because
    gradients would be wrong."""
    yield
    for module, name, buffer, version in versions:
        same = module._buffers[name] is buffer and buffer._version == version
        if not same and (module, name) not in moving:
            raise RuntimeError(f"{type(module).__name__}.forward changes {name}: name it in `moves`")


class _AsBefore(AbstractContextManager[None]):
    """Restores earlier values of buffers inside; entered once for each further pass.

    The buffers are replaced by copies, because the present ones may be part of another graph, which an
    in-place change would break.
    """

    def __init__(self, before: list[tuple[nn.Module, str, Tensor]]) -> None:
        self._before = before
        self._now: list[tuple[nn.Module, str, Tensor]] = []

    def __enter__(self) -> None:
        self._now = [(module, name, _buffer(module, name)) for module, name, _ in self._before]
        for module, name, buffer in self._before:
            module._buffers[name] = buffer.clone()

    def __exit__(self, *_: object) -> None:
        for module, name, buffer in self._now:
            module._buffers[name] = buffer
        self._now = []
