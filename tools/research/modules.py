"""Modules that other checkouts share the names of, or need and lack."""

from __future__ import annotations

import contextlib
import sys
import types
from collections.abc import Iterator
from typing import Any

from torch.torch_version import TorchVersion


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


@contextlib.contextmanager
def comparing_versions() -> Iterator[None]:
    """Stands in for pkg_resources, which newer setuptools lack, with its comparison of versions alone."""
    stand_in: Any = types.ModuleType("pkg_resources")
    stand_in.parse_version = TorchVersion
    missing = sys.modules.setdefault("pkg_resources", stand_in) is stand_in
    try:
        yield
    finally:
        if missing:
            del sys.modules["pkg_resources"]
