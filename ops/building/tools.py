"""The compilers, ninja, instruction sets and GPU architectures of this machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path


class CannotBuild(RuntimeError):
    """Nothing was compiled. The message is one line that says what is wrong and how to mend it."""


@dataclass(frozen=True)
class Tool:
    """A compiler: its path, and the version that it reports."""

    path: str
    version: str


# Instruction sets (levels of the x86-64 ABI), widest first, by the flags of /proc/cpuinfo that they need.
LEVELS = {
    "x86-64-v4": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
    "x86-64-v3": {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"},
}
DEFAULT_ARCHS = ("8.0", "9.0")
SECONDS_FOR_A_VERSION = 30


def find_cxx() -> Tool:
    """Returns the C++ compiler: $CXX, else g++, clang++ or c++ on PATH; CannotBuild if there is none."""
    named = os.environ.get("CXX")
    for name in (named,) if named else ("g++", "clang++", "c++"):
        path = shutil.which(name)
        if path:
            return Tool(path, _first_line(_output(path, "--version")))
    what = f"$CXX={named} is not on PATH" if named else "no C++ compiler on PATH"
    raise CannotBuild(f"{what}: apt install g++, or set CXX")


def find_nvcc() -> Tool:
    """Returns the CUDA compiler of $CUDA_HOME, PATH, /usr/local/cuda* or the package nvidia-cuda-nvcc. Raises
    CannotBuild if there is none."""
    home = os.environ.get("CUDA_HOME")
    what = f"$CUDA_HOME={home} has no bin/nvcc" if home else "no nvcc on PATH or in /usr/local/cuda"
    cause = CannotBuild(f"{what}: install the CUDA toolkit, set CUDA_HOME, or pip install 'hrgan[nvcc]'")
    for path in (Path(home, "bin/nvcc"),) if home else _nvcc_places():
        if os.access(path, os.X_OK):
            try:
                return _checked_nvcc(str(path))
            except CannotBuild as error:
                cause = error
    raise cause


def _nvcc_places() -> Iterator[Path]:
    on_path = shutil.which("nvcc")
    if on_path:
        yield Path(on_path)
    yield from (
        path / "bin/nvcc" for path in sorted(Path("/usr/local").glob("cuda*"), key=_newest_last)[::-1]
    )
    yield _site_packages() / "nvidia" / f"cu{_torch_cuda().split('.')[0]}/bin/nvcc"


def _newest_last(path: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", path.name)) or (10**6,)  # a bare cuda wins


def _checked_nvcc(path: str) -> Tool:
    """Raises CannotBuild unless the major version is that of torch's CUDA, whose runtime is linked."""
    text = _output(path, "--version")
    version = re.search(r"release (\S+), V(\S+)", text)
    if version is None:
        raise CannotBuild(
            f"{path} does not run: {_first_line(text)}; install the CUDA toolkit or set CUDA_HOME"
        )
    ours, theirs = version[1].split(".")[0], _torch_cuda().split(".")[0]
    if ours != theirs:
        raise CannotBuild(
            f"{path} is of CUDA {version[1]}, torch of CUDA {_torch_cuda()}: "
            f"set CUDA_HOME to a toolkit {theirs}.x"
        )
    return Tool(path, version[2])


def toolkit_of(nvcc: str) -> Path:
    """Returns the folder of the toolkit of an nvcc, which may be a script that starts another nvcc."""
    here = re.search(r"_HERE_=(\S+)", _output(nvcc, "-dryrun", "-x", "cu", "-c", os.devnull))
    return Path(here[1]).parent if here else Path(nvcc).resolve().parents[1]


def find_ninja() -> str:
    """Returns the ninja of the Python package, else the one on PATH; CannotBuild if there is none."""
    for file in _files_of("ninja"):
        path = Path(str(file.locate())).resolve()
        if path.name == "ninja" and os.access(path, os.X_OK) and path.is_file():
            return str(path)
    on_path = shutil.which("ninja")
    if not on_path:
        raise CannotBuild("no ninja: pip install ninja")
    return on_path


def _files_of(package: str) -> list[importlib.metadata.PackagePath]:
    try:
        return importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        return []


def cpu_level(flags: set[str] | None = None) -> str:
    """Returns this CPU's widest instruction set as -march names it, or the machine's name if not x86-64."""
    if platform.machine() != "x86_64":
        return platform.machine()
    has = cpu_flags() if flags is None else flags
    level4 = LEVELS["x86-64-v4"] | LEVELS["x86-64-v3"]
    if level4 <= has:
        return "x86-64-v4"
    return "x86-64-v3" if LEVELS["x86-64-v3"] <= has else "x86-64"


def cpu_flags() -> set[str]:
    """Returns the CPU's features as the kernel reports them."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()
    line = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    return set(line[1].split()) if line else set()


def choose_archs(asked: str | None, known: Sequence[str] | None) -> tuple[str, ...]:
    """Returns the GPU architectures to compile for, such as ("8.0", "9.0+PTX").

    asked: a list such as "8.0;9.0+PTX"; by default $TORCH_CUDA_ARCH_LIST, else those of the visible GPUs,
    else 8.0 and 9.0. The newest one is also kept as PTX, which later GPUs compile for themselves. known: the
    architectures that nvcc supports; None if there is no nvcc, so that any name will do. Raises CannotBuild
    for an unknown architecture.
    """
    text = asked or os.environ.get("TORCH_CUDA_ARCH_LIST") or ""
    names = [_plain_arch(name) for name in re.split(r"[\s;,]+", text) if name]
    archs = names or [_at_most(arch, known) for arch in visible_archs() or DEFAULT_ARCHS]
    for name in archs:
        if known and name.removesuffix("+PTX") not in known:
            where = "--arch" if asked else "TORCH_CUDA_ARCH_LIST" if text else "the visible GPU"
            raise CannotBuild(f"{where}: this nvcc does not know {name}; it knows {', '.join(known)}")
    ordered = sorted(set(archs), key=arch_number)
    if not any(name.endswith("+PTX") for name in ordered):
        ordered[-1] += "+PTX"
    return tuple(ordered)


def known_archs(nvcc: str) -> tuple[str, ...]:
    """Returns the architectures that this nvcc supports, such as ("7.5", ..., "9.0", "9.0a")."""
    names = re.findall(r"sm_(\d+[af]?)", _output(nvcc, "--list-gpu-code"))
    plain = [_plain_arch(name) for name in names]
    return tuple(
        sorted({*plain, *(f"{arch}a" for arch in plain if arch_number(arch) >= (9, 0))}, key=arch_number)
    )


def visible_archs() -> tuple[str, ...]:
    """Returns the architectures of the GPUs that this process sees."""
    import torch

    if not torch.cuda.is_available():
        return ()
    archs = {torch.cuda.get_device_capability(index) for index in range(torch.cuda.device_count())}
    return tuple(f"{major}.{minor}" for major, minor in sorted(archs))


def arch_number(name: str) -> tuple[int, int]:
    """Returns (9, 0) for "9.0", "9.0a" or "9.0+PTX"; (0, 0) for what is not an architecture."""
    number = re.match(r"(\d+)\.(\d+)", name)
    return (int(number[1]), int(number[2])) if number else (0, 0)


def _plain_arch(name: str) -> str:
    parts = re.fullmatch(r"(?:sm_|compute_)?(\d+)(\d)([af]?)((?:\+PTX)?)", name)
    return f"{parts[1]}.{parts[2]}{parts[3]}{parts[4]}" if parts else name


def _at_most(arch: str, known: Sequence[str] | None) -> str:
    """Returns `arch`, or the newest architecture that the compiler knows if the GPU is newer than that; such
    a GPU runs its PTX."""
    newest = max((name for name in known or (arch,) if name[-1].isdigit()), key=arch_number)
    return newest if arch_number(arch) > arch_number(newest) else arch


def _torch_cuda() -> str:
    import torch

    if not torch.version.cuda:
        raise CannotBuild("this torch is a CPU build: install one for CUDA")
    return torch.version.cuda


def _site_packages() -> Path:
    import torch

    return Path(torch.__file__).parents[1]


def _output(*command: str) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS_FOR_A_VERSION, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{type(error).__name__}: {error}"
    return done.stdout + done.stderr


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0].strip()[:200] if text.strip() else "no message"
