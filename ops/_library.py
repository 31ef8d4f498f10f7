"""Chooses, by policy, whether the compiled or the plain implementation of an operation runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

Backend = Literal["auto", "native", "reference"]
Device = Literal["cpu", "cuda"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)
DEVICES: tuple[Device, ...] = get_args(Device)
ENVIRONMENT = "HRGAN_OPS_BACKEND"
Tell = Callable[[str], None]


class NativeOpsMissing(RuntimeError):
    """Compiled operations were demanded and are missing. The message is one line with all causes."""


@dataclass(frozen=True)
class OpState:
    """The state of one operation on one type of device: which implementation runs, and why."""

    name: str
    device: str
    implementation: Literal["native", "reference"]
    reason: str


_backend: Backend = "auto"
_reference: dict[str, Callable[..., Any]] = {}
_native: dict[tuple[str, str], Callable[..., Any]] = {}
_chosen: dict[tuple[str, str], Callable[..., Any]] = {}  # the compiled forms that `pick` returns
_loaded: set[str] = set()
_causes: dict[Device, str] = {}  # device -> why its library is not loaded
_when_loaded: list[Callable[[], None]] = []
_told = False
_NOT_ASKED = "ops.use has not been called"


def define(name: str, reference: Callable[..., Any]) -> None:
    """Registers an operation with its plain definition."""
    _reference[name] = reference


def provide(name: str, native: Callable[..., Any], devices: Sequence[str] = DEVICES) -> None:
    """Registers a compiled form of a known operation, which has the signature of its reference.

    This may happen before anything is compiled: the form runs on tensors of a device once the library for
    that device is loaded and the policy allows it. Raises KeyError for an unknown operation.
    """
    if name not in _reference:
        raise KeyError(f"unknown operation {name}; known: {', '.join(_reference)}")
    for device in devices:
        _native[name, device] = native
    _choose()


def when_loaded(register: Callable[[], None]) -> None:
    """Calls `register`, which adds fakes, once the CPU library with the schemas is loaded."""
    if "cpu" in _loaded:
        register()
    else:
        _when_loaded.append(register)


def loaded(device_type: str) -> bool:
    """Returns whether the library for tensors of this type of device is loaded."""
    return device_type in _loaded


def pick(name: str, device_type: str) -> Callable[..., Any]:
    """Returns the implementation of an operation for tensors of a device under the current policy."""
    return _chosen.get((name, device_type)) or _reference[name]


def use(
    backend: Backend = "auto",
    *,
    devices: Sequence[Device] | None = None,
    tell: Tell | None = None,
    build: bool = True,
) -> None:
    """Sets the policy of this process and loads the libraries that it needs, compiling them first if
    necessary.

    backend: "native" demands compiled operations and raises NativeOpsMissing if a library is missing.
    "reference" uses plain PyTorch. "auto" uses compiled operations where they can be built and plain ones
    elsewhere; if $HRGAN_OPS_BACKEND is set, it replaces "auto", but no other value.
    devices: those on which this process computes; None for the CPU and, if one is visible, CUDA.
    tell: is called with each line for the user; None for standard error. The reason why "auto" uses plain
    operations is told once per process. build: whether to compile; False only loads what was compiled before.
    Nothing is compiled after this call has returned.
    """
    global _backend
    policy, wanted, tell = resolve(backend), _wanted(devices), tell or _print
    missing = {} if policy == "reference" else _load(wanted, tell, build)
    if missing and policy == "native":
        raise NativeOpsMissing(
            f"ops.backend=native, but {_listed(missing)}; use ops.backend=auto or reference"
        )
    _tell_once(missing, tell)
    _backend = policy
    _choose()


def prepare(
    backend: Backend = "auto", *, devices: Sequence[Device] | None = None, tell: Tell | None = None
) -> None:
    """Compiles what `use` would load in processes that are about to start, and loads nothing.

    Raises NativeOpsMissing as `use` does. If "auto" will use plain operations, those processes say so.
    """
    policy = resolve(backend)
    if policy == "reference":
        return
    missing = _absent(_wanted(devices), lambda device: _obtain(device, tell or _print, True))
    if missing and policy == "native":
        raise NativeOpsMissing(
            f"ops.backend=native, but {_listed(missing)}; use ops.backend=auto or reference"
        )


def resolve(backend: Backend) -> Backend:
    """Returns the policy given by `backend` and the environment. Raises ValueError if it is unknown."""
    chosen, where = backend, "ops.backend"
    if backend == "auto" and os.environ.get(ENVIRONMENT):
        chosen, where = cast("Backend", os.environ[ENVIRONMENT]), f"${ENVIRONMENT}"
    if chosen not in BACKENDS:
        raise ValueError(f"{where}: {chosen!r} is unknown; allowed: {', '.join(BACKENDS)}")
    return chosen


def backend() -> Backend:
    """Returns the current policy."""
    return _backend


def state() -> list[OpState]:
    """Returns the state of every operation on every type of device."""
    return [_describe(name, device) for name in _reference for device in DEVICES]


def _describe(name: str, device: Device) -> OpState:
    if (name, device) in _chosen:
        return OpState(name, device, "native", "compiled")
    if _backend == "reference":
        reason = "ops.backend=reference"
    elif (name, device) not in _native:
        reason = f"has no compiled form on {device}"
    else:
        reason = _causes.get(device, "this process does not compute on it" if _loaded else _NOT_ASKED)
    return OpState(name, device, "reference", reason)


def _choose() -> None:
    _chosen.clear()
    if _backend != "reference":
        _chosen.update({key: native for key, native in _native.items() if key[1] in _loaded})


def _wanted(devices: Sequence[Device] | None) -> tuple[Device, ...]:
    """Returns the devices whose libraries are needed: the CPU, whose library holds the schemas, then CUDA if
    it is asked for or can be used."""
    if devices is not None:
        return ("cpu", "cuda") if "cuda" in devices else ("cpu",)
    import torch

    return ("cpu", "cuda") if torch.version.cuda and torch.cuda.is_available() else ("cpu",)


def _load(devices: Sequence[Device], tell: Tell, build: bool) -> dict[Device, str]:
    """Loads the libraries of these devices; returns the reasons why some are missing, by device."""

    def load(device: Device) -> None:
        if device not in _loaded:
            path = _obtain(device, tell, build)
            import torch

            load_library: Callable[[str], None] = torch.ops.load_library
            load_library(str(path))
            _note_loaded(device)

    missing = _absent(devices, load)
    _causes.update(missing)
    return missing


def _absent(devices: Sequence[Device], attempt: Callable[[Device], object]) -> dict[Device, str]:
    """Returns why `attempt` failed, by device. CUDA's library needs the CPU's, which holds the schemas."""
    from ops.building.tools import CannotBuild

    missing: dict[Device, str] = {}
    for device in devices:
        try:
            attempt(device)
        except (CannotBuild, OSError) as error:
            missing[device] = " ".join(str(error).split())
            if device == "cpu":
                return missing | {other: "needs the CPU's library" for other in devices if other != "cpu"}
    return missing


def _obtain(device: Device, tell: Tell, build: bool) -> Path:
    from ops.build import obtain

    return obtain(device, tell, build=build).path


def _note_loaded(device: Device) -> None:
    _loaded.add(device)
    while device == "cpu" and _when_loaded:
        _when_loaded.pop(0)()


def _tell_once(missing: dict[Device, str], tell: Tell) -> None:
    global _told
    if missing and not _told:
        where = "" if "cpu" in missing else " on cuda"
        tell(f"hrgan: warning: operations{where} run as plain PyTorch, slower: {_listed(missing)}")
        _told = True


def _listed(missing: dict[Device, str]) -> str:
    return "; ".join(f"{device}: {cause}" for device, cause in missing.items())


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
