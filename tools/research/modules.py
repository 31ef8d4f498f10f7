"""Modules of other checkouts that have the same names."""

from __future__ import annotations

import contextlib
import sys
import types
from collections.abc import Iterator


@contextlib.contextmanager
def set_aside(*packages: str) -> Iterator[None]:
    """Forgets modules of these packages, and afterwards knows them again and none that was imported
    meanwhile: another checkout may have packages of the same names."""

    def taken() -> dict[str, types.ModuleType]:
        names = [name for name in sys.modules if name.partition(".")[0] in packages]
        return {name: sys.modules.pop(name) for name in names}

    others = taken()
    try:
        yield
    finally:
        taken()
        sys.modules.update(others)
