"""Which implementation of an operation runs: the compiled one or the plain one, by policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Backend = Literal["auto", "native", "reference"]
BACKENDS: tuple[Backend, ...] = ("auto", "native", "reference")


class NativeOpsMissing(RuntimeError):
    """Compiled operations were demanded and are not there. The message is one line with every cause."""


@dataclass(frozen=True)
class OpState:
    """One operation as `hrgan doctor` shows it: which implementation runs, and why."""

    name: str
    implementation: Literal["native", "reference"]
    reason: str


_backend: Backend = "auto"
_reference: dict[str, Callable[..., Any]] = {}
_native: dict[str, Callable[..., Any]] = {}
_causes: dict[str, str] = {}  # operation -> why it has no compiled form
_NOT_BUILT = "no compiled operations are built"


def define(name: str, reference: Callable[..., Any]) -> None:
    """Make an operation known by its plain definition."""
    _reference[name] = reference


def provide(name: str, native: Callable[..., Any]) -> None:
    """Offer a compiled implementation of a known operation, with the signature of its reference."""
    if name not in _reference:
        raise KeyError(f"unknown operation {name}; known: {', '.join(_reference)}")
    _native[name] = native


def explain(name: str, cause: str) -> None:
    """Record why an operation has no compiled implementation here."""
    _causes[name] = cause


def use(backend: Backend) -> None:
    """Set this process's policy: native (an error if any is missing), reference, or auto (what is there)."""
    global _backend
    if backend not in BACKENDS:
        raise ValueError(f"ops.backend: {backend!r} is unknown; allowed: {', '.join(BACKENDS)}")
    missing = [name for name in _reference if name not in _native]
    if backend == "native" and missing:
        causes = "; ".join(f"{name}: {_causes.get(name, _NOT_BUILT)}" for name in missing)
        raise NativeOpsMissing(f"ops.backend=native, but {causes}; use ops.backend=auto or reference")
    _backend = backend


def backend() -> Backend:
    """The policy in force."""
    return _backend


def state() -> list[OpState]:
    """Every operation with the implementation that runs now."""
    return [_describe(name) for name in _reference]


def _describe(name: str) -> OpState:
    if name in _native and _backend != "reference":
        return OpState(name, "native", "compiled")
    reason = "ops.backend=reference" if _backend == "reference" else _causes.get(name, _NOT_BUILT)
    return OpState(name, "reference", reason)


def pick(name: str) -> Callable[..., Any]:
    """The implementation of an operation under the policy in force."""
    if _backend != "reference" and name in _native:
        return _native[name]
    return _reference[name]
