"""Problems of what is installed: Python, torch and its CUDA, compilers, libraries."""

from __future__ import annotations

import re
import time
from pathlib import Path

from packaging.specifiers import SpecifierSet

from launch.doctor.machine import Machine
from launch.doctor.problem import Look, Problem

_OLDEST, _NEWEST = (3, 11), (3, 14)
_STALE_SECONDS = 600
_TF32 = ("NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE")
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")


def python_version(machine: Machine) -> Problem | None:
    """A Python that nobody has tried."""
    version = ".".join(map(str, machine.python))
    if machine.python < _OLDEST:
        return Problem(
            "Python too old",
            True,
            f"Python {version}",
            "install hrgan into an environment of Python 3.11 or later",
        )
    if machine.python > _NEWEST:
        return Problem(
            "Python too new",
            False,
            f"Python {version}, for which torch and others may have no packages yet",
            f"an environment of Python {_NEWEST[0]}.{_NEWEST[1]} or before",
        )
    return None


def torchvision_of_another_torch(machine: Machine) -> Problem | None:
    """A torchvision that was made for another torch."""
    if machine.torch is None:
        return None
    have, wants = machine.torch.version.split("+")[0], machine.torchvision_wants
    fits = wants is None or SpecifierSet(wants).contains(have, prereleases=True)
    if fits and machine.torchvision_fault is None:
        return None
    seen = f"torchvision was made for torch {wants}, and torch is {have}"
    if fits:
        seen = f"torchvision cannot be imported beside torch {have} ({machine.torchvision_fault})"
    return Problem(
        "torchvision and torch",
        True,
        seen,
        f"pip install --force-reinstall torch=={have} torchvision, which takes the one that belongs to it",
    )


def cpu_build(machine: Machine) -> Problem | None:
    """A torch without CUDA where there are GPUs."""
    if machine.torch is None or machine.torch.cuda is not None or not machine.gpus:
        return None
    return Problem(
        "torch without CUDA",
        True,
        f"torch {machine.torch.version} is a CPU build, and this machine has {_listed(machine.gpus)}",
        "pip uninstall torch torchvision, then pip install torch torchvision (from PyPI, whose build has "
        "CUDA)",
    )


def _listed(gpus: list[str]) -> str:
    return f"{len(gpus)} GPU{'s' * (len(gpus) != 1)} ({gpus[0]})"


def old_driver(machine: Machine) -> Problem | None:
    """A driver that cannot run torch's CUDA: torch then sees no GPU."""
    torch, driver = machine.torch, machine.driver_cuda
    if torch is None or torch.cuda is None or torch.available or driver is None:
        return None
    if int(driver.split(".")[0]) >= int(torch.cuda.split(".")[0]):
        return None
    major = driver.split(".")[0]
    return Problem(
        "driver older than torch's CUDA",
        True,
        f"the driver runs CUDA up to {driver}, and torch was built for {torch.cuda}: it sees no GPU",
        f"a newer NVIDIA driver, or a torch built for CUDA {major}",
    )


def hidden_gpus(machine: Machine) -> Problem | None:
    """GPUs that a variable hides."""
    name = "CUDA_VISIBLE_DEVICES"
    value = machine.env.get(name)
    if value not in ("", "-1", "NoDevFiles") or not machine.gpus:
        return None
    return Problem(
        "GPUs are hidden",
        False,
        f"{name}={value!r} hides {_listed(machine.gpus)}",
        f"unset {name}; in a job, ask the scheduler for GPUs (--gpus-per-task)",
    )


def unknown_architecture(machine: Machine) -> Problem | None:
    """A GPU that torch has no kernels for."""
    torch = machine.torch
    if torch is None or not torch.archs:
        return None
    for name, (major, minor) in torch.devices:
        # Kernels run on later minors of their major; PTX (compute_) is compiled for whatever comes later.
        fits = [a for a in torch.archs if _runs(a, major, minor)]
        if not fits:
            return Problem(
                "GPU unknown to torch",
                True,
                f"{name} is sm_{major}{minor}, and torch {torch.version} has {', '.join(torch.archs)}",
                "a torch whose build has it: a newer one for a new GPU, an older one for an old GPU",
            )
    return None


def _runs(arch: str, major: int, minor: int) -> bool:
    match = re.fullmatch(r"(sm|compute)_(\d+)(\d)[a-z]?", arch)
    if match is None:
        return False
    has = (int(match[2]), int(match[3]))
    return has <= (major, minor) and (match[1] == "compute" or has[0] == major)


def compilers(machine: Machine) -> Problem | None:
    """What compiles operations."""
    named = machine.env.get("CXX")
    lacking = (
        [] if any(map(machine.tool, (named,) if named else ("g++", "clang++", "c++"))) else ["a C++ compiler"]
    )
    nvidia = machine.gpus and not machine.env.get("CUDA_HOME")
    if nvidia and not machine.tool("nvcc") and not list(machine.root.glob("usr/local/cuda*/bin/nvcc")):
        lacking.append("nvcc")
    if not lacking:
        return None
    return Problem(
        "no compiler",
        False,
        f"{' and '.join(lacking)} not found: operations that are not compiled yet run as plain PyTorch, "
        "slower",
        "apt install g++" + ("; pip install 'hrgan[nvcc]', or set CUDA_HOME" if "nvcc" in lacking else ""),
    )


def stale_lock(machine: Machine) -> Problem | None:
    """A lock that a killed build of a torch extension, such as DeepSpeed's, has left: others wait for it."""
    cache = Path(machine.env.get("XDG_CACHE_HOME") or machine.home / ".cache")
    root = Path(machine.env.get("TORCH_EXTENSIONS_DIR") or cache / "torch_extensions")
    now = time.time()
    for lock in sorted([*root.glob("*/lock"), *root.glob("*/*/lock")]):
        age = now - lock.stat().st_mtime
        if age > _STALE_SECONDS:
            return Problem(
                "stale lock of a build",
                True,
                f"{lock} is {age / 60:.0f} minutes old; whoever builds that extension waits for it for ever",
                f"if nothing is being compiled: rm {lock}",
            )
    return None


def foreign_cuda(machine: Machine) -> Problem | None:
    """A CUDA runtime of another version that LD_LIBRARY_PATH puts before torch's own."""
    torch = machine.torch
    if torch is None or torch.cuda is None:
        return None
    for folder in filter(None, machine.env.get("LD_LIBRARY_PATH", "").split(":")):
        for path in sorted(Path(folder).glob("libcudart.so.*")):
            version = path.name.removeprefix("libcudart.so.")
            if version.split(".")[0] != torch.cuda.split(".")[0]:
                return Problem(
                    "another CUDA on LD_LIBRARY_PATH",
                    True,
                    f"LD_LIBRARY_PATH puts {path} before torch's own CUDA {torch.cuda}",
                    "unset LD_LIBRARY_PATH, or take that folder out (module unload cuda): torch brings its "
                    "own",
                )
    return None


def tf32_override(machine: Machine) -> Problem | None:
    """Variables that overrule engine.tf32."""
    given = [f"{name}={machine.env[name]}" for name in _TF32 if machine.env.get(name)]
    if not given:
        return None
    return Problem(
        "TF32 is overruled",
        False,
        f"{' '.join(given)} overrules engine.tf32 for every product, penalties and metrics included",
        f"unset {' '.join(one.split('=')[0] for one in given)}",
    )


def flushed(machine: Machine) -> Problem | None:
    """Floats below 1e-38 that count as 0."""
    if not machine.flushes:
        return None
    return Problem(
        "small floats are 0",
        False,
        "some library (built with -ffast-math) has switched this processor to count floats below 1e-38 as "
        "0: a "
        "run then differs in its last bits from one without it",
        "find it by importing packages one by one; a run that is to repeat goes without it",
    )


def encoding(machine: Machine) -> Problem | None:
    """A terminal that cannot show every name."""
    if machine.encoding.lower().replace("-", "").replace("_", "") == "utf8":
        return None
    return Problem(
        "not UTF-8",
        False,
        f"output is in {machine.encoding}: names of files and classes beyond it are shown as escapes or fail",
        "export LANG=C.UTF-8 (and no LC_ALL or PYTHONIOENCODING that says otherwise)",
    )


def pillow(machine: Machine) -> Problem | None:
    """Kinds of pictures that this Pillow cannot read."""
    if not machine.pillow_lacks:
        return None
    return Problem(
        "Pillow without some kinds",
        False,
        f"this Pillow cannot read {', '.join(machine.pillow_lacks)}",
        "pip install --upgrade pillow (its wheels have them)",
    )


def offline(machine: Machine) -> Problem | None:
    """Settings that let downloads fail."""
    forced = [name for name in _OFFLINE if machine.env.get(name, "0").lower() not in ("", "0", "false", "no")]
    if forced:
        return Problem(
            "downloads are switched off",
            False,
            f"{' and '.join(forced)} forbids downloads from the Hugging Face hub: sources there are not "
            "found",
            f"unset {' '.join(forced)}, or fetch what is needed before",
        )
    names = {name.lower() for name, value in machine.env.items() if value}
    if "http_proxy" in names and "https_proxy" not in names:
        return Problem(
            "proxy for http alone",
            False,
            "http_proxy is set and https_proxy is not: weights and data sets come by https",
            "export https_proxy=$http_proxy",
        )
    return None


SOFTWARE: tuple[Look, ...] = (
    *(python_version, torchvision_of_another_torch, cpu_build, old_driver, hidden_gpus, unknown_architecture),
    *(compilers, stale_lock, foreign_cuda, tf32_override, flushed, encoding, pillow, offline),
)
