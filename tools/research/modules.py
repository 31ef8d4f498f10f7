"""Modules of other projects' checkouts, and those that they share the names of, or need and lack."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from torch.torch_version import TorchVersion


class Packages:
    """Modules of packages that another checkout may have under the same names. Within `with` they are those
    that were imported so; outside they are what they were before."""

    def __init__(self, *names: str) -> None:
        self._names = names
        self._own: dict[str, types.ModuleType] = {}
        self._others: dict[str, types.ModuleType] = {}

    def __enter__(self) -> None:
        self._others = self._taken()
        sys.modules.update(self._own)

    def __exit__(self, *_: object) -> None:
        self._own = self._taken()
        sys.modules.update(self._others)

    def _taken(self) -> dict[str, types.ModuleType]:
        names = [name for name in sys.modules if name.partition(".")[0] in self._names]
        return {name: sys.modules.pop(name) for name in names}


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


@contextlib.contextmanager
def standing_in(**modules: types.ModuleType) -> Iterator[None]:
    """Has modules under these names, in which "__" stands for a dot, in the place of those that may be
    missing or are not to run."""
    names = {name.replace("__", "."): module for name, module in modules.items()}
    before = {name: sys.modules.get(name) for name in names}
    sys.modules.update(names)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module


def module_of(**contents: Any) -> types.ModuleType:
    """Returns a module with these contents."""
    module = types.ModuleType("stand_in")
    module.__dict__.update(contents)
    return module


def package_of(folder: Path, **contents: Any) -> types.ModuleType:
    """Returns a package whose modules are those of a folder, and whose own code does not run."""
    return module_of(__path__=[str(folder)], **contents)


@contextlib.contextmanager
def importing(checkout: Path, device: str, stand_ins: tuple[str, ...] = ()) -> Iterator[None]:
    """Imports from a checkout, unmodified: on a CPU nothing is compiled, with CUDA what is compiled can be
    imported by its name, as older versions of torch left it. stand_ins: modules that may be missing."""
    extensions: Any = importlib.import_module("torch.utils.cpp_extension")
    missing = []
    load = extensions.load
    extensions.load = _loading_into_modules(load) if device == "cuda" else _loading_nothing
    for name in stand_ins:
        if importlib.util.find_spec(name) is None:
            sys.modules[name] = types.ModuleType(name)
            missing.append(name)
    sys.path.insert(0, str(checkout))
    try:
        with warnings.catch_warnings(), open(os.devnull, "w") as quiet, contextlib.redirect_stderr(quiet):
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.path.remove(str(checkout))
        extensions.load = load
        for name in missing:
            del sys.modules[name]


def _loading_nothing(*_: Any, **__: Any) -> None:
    return None


def _loading_into_modules(load: Callable[..., Any]) -> Callable[..., Any]:
    def loading(name: str, *rest: Any, **settings: Any) -> Any:
        module = load(name, *rest, **settings)
        sys.modules.setdefault(name, module)
        return module

    return loading


@contextlib.contextmanager
def isolated(checkout: Path, stand_ins: tuple[str, ...] = ()) -> Iterator[None]:
    """As `importing` on a CPU, and what came from the checkout is forgotten at the end: other checkouts have
    modules of the same names. Use it around all that calls a peer's code."""
    with importing(checkout, "cpu", stand_ins):
        try:
            yield
        finally:
            for name, module in list(sys.modules.items()):
                file = getattr(module, "__file__", None)
                if file and Path(file).resolve().is_relative_to(checkout.resolve()):
                    del sys.modules[name]
