"""Networks that torch.compile may compile for the main phases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ops.layout import settle_for_graphs


class Compilable(nn.Module):
    """A module whose `compute(..., exact=False)` runs compiled after `compile_main` was called.

    With exact=True it stays eager, because compiled graphs have no second derivatives, which exact penalties
    need. Copies made before `compile_main` stay eager.
    """

    compute: Callable[..., Any]
    """What the module does; subclasses define it."""
    _main: Callable[..., Any] | None = None

    def forward(self, *inputs: Any, exact: bool = False, **settings: Any) -> Any:
        if exact or self._main is None:
            return self.compute(*inputs, exact=exact, **settings)
        return self._main(*inputs, **settings)

    def compile_main(self, backend: Any = "inductor") -> None:
        """Makes later calls without `exact` run compiled; the first one for each shape takes minutes."""
        settle_for_graphs()
        self._main = torch.compile(self.compute, backend=backend)


def compile_main_phases(module: nn.Module, backend: Any = "inductor") -> int:
    """Calls `compile_main` on every part of `module` that has it; returns their number."""
    parts = [part for part in module.modules() if isinstance(part, Compilable)]
    for part in parts:
        part.compile_main(backend)
    return len(parts)
