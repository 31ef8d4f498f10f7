"""The CPU's twin of a captured graph: a phase recorded on its buffers and replayed on what they then hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import TreeSpec, tree_flatten, tree_leaves, tree_unflatten

from pipeline.training.turns import Run, Stats


class Seen(TorchDispatchMode):
    """Changes nothing. Where somebody looks on, torch sends a few operations another way than otherwise, with
    another rounding: what is compared with a recording, which looked on, is computed under this."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {}))


@dataclass(frozen=True)
class _Made:
    """Stands for the tensor that an earlier operation made."""

    number: int


@dataclass(frozen=True)
class _Call:
    function: Callable[..., Any]
    leaves: list[Any]
    spec: TreeSpec


class Recording(TorchDispatchMode):
    """Every operation that runs under it, in order: again on what the tensors from outside then hold."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[_Call] = []
        self._made: dict[int, _Made] = {}
        self._alive: list[Tensor] = []  # or the number of one that is gone would soon be another's

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("a number is read from a tensor: a replay would not read it again")
        leaves, spec = tree_flatten((args, kwargs or {}))
        self._calls.append(_Call(function, [self._place(leaf) for leaf in leaves], spec))
        result = function(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            self._made[id(tensor)] = _Made(len(self._alive))
            self._alive.append(tensor)
        return result

    def of(self, run: Run) -> Run:
        """Runs it, and gives what runs its operations again."""
        with self:
            stats = run()
        wanted = {name: self._place(value) for name, value in stats.items()}
        self._alive.clear()

        def again() -> Stats:
            made: list[Tensor] = []

            def value(leaf: Any) -> Any:
                return made[leaf.number] if isinstance(leaf, _Made) else leaf

            for call in self._calls:
                args, kwargs = tree_unflatten(map(value, call.leaves), call.spec)
                made += _tensors(call.function(*args, **kwargs))
            return {name: value(leaf).clone() for name, leaf in wanted.items()}

        return again

    def _place(self, leaf: Any) -> Any:
        return self._made.get(id(leaf), leaf) if isinstance(leaf, Tensor) else leaf


def _tensors(result: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]


class Traced:
    """Implements turns.Graphs. Recording runs what it records, as capturing does not: `state`, all that a
    turn may change, is put back."""

    def __init__(self, state: Callable[[], Iterable[Tensor]]) -> None:
        self.graphs: list[Run] = []
        self.replays = 0
        self._state = state

    def warm(self, run: Run) -> Stats:
        return run()

    def capture(self, run: Run) -> Run:
        before = [(tensor, tensor.detach().clone()) for tensor in self._state()]
        graph = Recording().of(run)
        for tensor, value in before:
            tensor.detach().copy_(value)
        self.graphs.append(graph)

        def replay() -> Stats:
            self.replays += 1
            with torch.no_grad():  # the recording holds the backward pass too
                return graph()

        return replay
