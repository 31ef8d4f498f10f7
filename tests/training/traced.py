"""The CPU's twin of a captured graph: a phase traced on its buffers, and replayed on what they then hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.training.turns import Run, Stats


class Seen(TorchDispatchMode):
    """Changes nothing. Where somebody looks on, torch sends a few operations another way than otherwise, with
    another rounding: what is compared with a trace, which looked on, is computed under this."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {}))


class Traced:
    """Implements turns.Graphs. Tracing runs what it traces, as capturing does not: `state`, all that a turn
    may change, is put back."""

    def __init__(self, state: Callable[[], Iterable[torch.Tensor]]) -> None:
        self.graphs: list[GraphModule] = []
        self.replays = 0
        self._state = state

    def warm(self, run: Run) -> Stats:
        return run()

    def capture(self, run: Run) -> Run:
        before = [(tensor, tensor.detach().clone()) for tensor in self._state()]
        graph = make_fx(run)()
        for tensor, value in before:
            tensor.detach().copy_(value)
        self.graphs.append(graph)

        def replay() -> Stats:
            self.replays += 1
            with torch.no_grad():  # the graph holds the backward pass too
                return {name: value.clone() for name, value in graph().items()}

        return replay
