"""Blocks whose activations are not kept for the backward pass but computed again there (Chen et al. 2016,
"Training deep nets with sublinear memory cost"): less memory for one forward pass more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop

_Place = tuple[nn.Module, str]


class Recomputable(nn.Module):
    """A block whose `compute(...)` may run again in the backward pass, once `recompute_blocks` was called.

    `compute` must be a function of its inputs, parameters and buffers: it draws no random numbers. A layer
    inside whose forward changes buffers (running statistics, power iteration) names them in a class
    attribute `moves: tuple[str, ...]`: the second pass then sees them as the first did, and what it does to
    them is undone, also where other passes came in between. Gradients are the same bits; derivatives of any
    order work. Copies made before `recompute_blocks` keep their activations.
    """

    compute: Callable[..., Any]
    """What the block does; subclasses define it."""
    _recomputes = False

    def forward(self, *inputs: Any, **settings: Any) -> Any:
        if not self._recomputes or not torch.is_grad_enabled():
            return self.compute(*inputs, **settings)
        moving, versions = _moving(self), _versions(self)
        before = [(module, name, _buffer(module, name).clone()) for module, name in moving]

        def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
            return _unchanged_but(versions, moving), _AsBefore(before)

        # To the end: what stops the second pass half way is an exception in the middle of an operation that
        # saves its own result, and that would hold its memory for good.
        with set_checkpoint_early_stop(False):
            # preserve_rng_state: saving the device's would wait for it, and nothing draws here.
            return checkpoint(
                self.compute,
                *inputs,
                use_reentrant=False,
                preserve_rng_state=False,
                context_fn=contexts,
                **settings,
            )


def recompute_blocks(module: nn.Module) -> int:
    """From now on every `Recomputable` part of `module` computes again what its backward pass needs; how
    many there are."""
    parts = [part for part in module.modules() if isinstance(part, Recomputable)]
    for part in parts:
        part._recomputes = True
    return len(parts)


def _moving(block: nn.Module) -> list[_Place]:
    return [(module, name) for module in block.modules() for name in getattr(module, "moves", ())]


def _buffer(module: nn.Module, name: str) -> Tensor:
    buffer = module._buffers[name]
    assert buffer is not None, f"{name}: not a buffer of {type(module).__name__}"
    return buffer


def _versions(block: nn.Module) -> list[tuple[nn.Module, str, Tensor, int]]:
    """Every buffer, and how often it was changed in place so far."""
    return [
        (module, name, buffer, buffer._version)
        for module in block.modules()
        for name, buffer in module.named_buffers(recurse=False)
    ]


@contextmanager
def _unchanged_but(
    versions: list[tuple[nn.Module, str, Tensor, int]], moving: list[_Place]
) -> Iterator[None]:
    """RuntimeError if a buffer changes that its layer does not name in `moves`: gradients would be wrong."""
    yield
    for module, name, buffer, version in versions:
        same = module._buffers[name] is buffer and buffer._version == version
        if not same and (module, name) not in moving:
            raise RuntimeError(f"{type(module).__name__}.forward changes {name}: name it in `moves`")


class _AsBefore:
    """Buffers as they were, entered once for each backward pass. Copies take their places: what is there now
    may be in another graph, which a change in place would spoil."""

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
