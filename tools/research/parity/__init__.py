"""Our networks beside other projects', with the same weights and inputs. Nothing of theirs stands here.

Each module is a peer and offers:

- `LANDMARK: str`, a file that tells a checkout of it from another folder;
- `compare(checkout: Path) -> list[ParityRow]`, how far ours and theirs are apart;
- `PEER: str`, its name; the module's own if it has none;
- `record(checkout: Path) -> list[recorded.Case]`, if it can: outputs that tests keep (tests/models/parity).

Modules without `compare` are what several peers share.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor


def offering(package: ModuleType, what: str) -> dict[str, ModuleType]:
    """Returns the modules of a package that offer `what`, by the peer's name."""
    names = [f"{package.__name__}.{info.name}" for info in pkgutil.iter_modules(package.__path__)]
    modules = [importlib.import_module(name) for name in names]
    return {name_of(module): module for module in modules if hasattr(module, what)}


def name_of(module: ModuleType) -> str:
    """Returns a peer's name."""
    name: str = getattr(module, "PEER", module.__name__.rpartition(".")[2])
    return name


FORWARD, GRADIENT = 1e-4, 1e-3
"""Largest relative differences of outputs and of gradients."""


@dataclass(frozen=True)
class ParityRow:
    """One comparison.

    name: the network and its size. what: the output or gradient. difference, limit: relative, as `apart`
    measures them.
    """

    name: str
    what: str
    difference: float
    limit: float

    @property
    def ok(self) -> bool:
        """Within its limit; a difference that is not a number is not."""
        return self.difference <= self.limit


def apart(ours: Tensor, theirs: Tensor) -> float:
    """Returns max |ours - theirs| / max |theirs|, so that scalars are compared with themselves and maps with
    their peak.

    Raises ValueError if the shapes differ.
    """
    if ours.shape != theirs.shape:
        raise ValueError(f"ours has shape {tuple(ours.shape)}, theirs {tuple(theirs.shape)}")
    difference = (ours.detach().double() - theirs.detach().double()).abs().max()
    peak = theirs.detach().double().abs().max()
    return float(difference if peak == 0 else difference / peak)


def whole(pairs: Iterable[tuple[Tensor, Tensor]]) -> float:
    """|ours - theirs| / |theirs| of all pairs as one vector: of a network's whole gradient.

    Leaky ReLU has a kink: where rounding puts one activation on its other side, single elements of a
    gradient jump, and what a step does hardly changes. Errors: ValueError if shapes differ.
    """
    difference = square = torch.zeros((), dtype=torch.float64)
    for ours, theirs in pairs:
        if ours.shape != theirs.shape:
            raise ValueError(f"ours has shape {tuple(ours.shape)}, theirs {tuple(theirs.shape)}")
        wanted = theirs.detach().double()
        difference = difference + (ours.detach().double() - wanted).square().sum()
        square = square + wanted.square().sum()
    return float((difference / square).sqrt())
