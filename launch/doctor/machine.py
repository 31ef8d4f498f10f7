"""What a machine says of itself, read once for all problems."""

from __future__ import annotations

import importlib.metadata
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from packaging.requirements import Requirement

_SECONDS = 20  # that a tool may take to answer


@dataclass(frozen=True)
class Torch:
    """version: of torch. cuda: of the CUDA it was built for, None for a CPU build. available: whether it can
    use a GPU. archs: what it has kernels for, such as sm_90. devices: name and capability of each GPU."""

    version: str
    cuda: str | None = None
    available: bool = False
    archs: Sequence[str] = ()
    devices: Sequence[tuple[str, tuple[int, int]]] = ()


@dataclass(frozen=True)
class Machine:
    """What problems look at.

    env: the environment. root: of the file system, for /proc, /sys and /dev. folder: where the command was
    given. smi: what nvidia-smi answers; None if there is none or it fails. torchvision_wants: which versions
    of torch torchvision was made for; torchvision_fault: why it cannot be imported. cores: those that this
    process may use. open_files: that it may have. encoding: of its output. flushes: whether the smallest
    floats count as 0.
    """

    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    root: Path = Path("/")
    folder: Path = field(default_factory=Path.cwd)
    python: tuple[int, int] = field(default_factory=lambda: sys.version_info[:2])
    torch: Torch | None = None
    torchvision_wants: str | None = None
    torchvision_fault: str | None = None
    smi: str | None = None
    cores: int = 1
    all_cores: int = 1
    open_files: int = 1 << 20
    encoding: str = "utf-8"
    flushes: bool = False
    pillow_lacks: Sequence[str] = ()

    def tool(self, name: str) -> str | None:
        """The program of that name on PATH."""
        return shutil.which(name, path=self.env.get("PATH", os.defpath))

    @property
    def gpus(self) -> list[str]:
        """The GPUs that the driver knows, whether torch can use them or not."""
        if self.smi:
            return re.findall(r"^GPU \d+: (.*?) \(UUID", self.smi, re.MULTILINE)
        return [path.name for path in sorted(self.root.glob("proc/driver/nvidia/gpus/*"))]

    @property
    def driver_cuda(self) -> str | None:
        """The newest CUDA that the driver can run, such as 12.4."""
        match = re.search(r"CUDA Version: *(\d+\.\d+)", self.smi or "")
        return match[1] if match else None

    @property
    def home(self) -> Path:
        """The home folder."""
        return Path(self.env.get("HOME") or Path("/root"))

    @property
    def temporary(self) -> Path:
        """Where temporary files go."""
        return Path(self.env.get("TMPDIR") or "/tmp")

    @property
    def operations(self) -> Path:
        """Where compiled operations are kept."""
        cache = Path(self.env.get("XDG_CACHE_HOME") or self.home / ".cache")
        return Path(self.env.get("HRGAN_OPS_CACHE") or cache / "hrgan/ops")


def this_machine() -> Machine:
    """The machine that this runs on. What cannot be read is left as if it were fine."""
    facts: dict[str, object] = {
        "cores": len(os.sched_getaffinity(0)),
        "all_cores": os.cpu_count() or 1,
        "open_files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "encoding": sys.stdout.encoding or "ascii",
        "smi": _smi(),
    }
    for name, read in (
        ("torch", _torch),
        ("torchvision_wants", _torchvision_wants),
        ("torchvision_fault", _torchvision_fault),
        ("pillow_lacks", _pillow_lacks),
        ("flushes", _flushes),
    ):
        with suppress(Exception):  # a broken installation: the sections before this one say so
            facts[name] = read()
    if facts["open_files"] == resource.RLIM_INFINITY:
        del facts["open_files"]
    return Machine(**facts)  # type: ignore[arg-type]


def _smi() -> str | None:
    path = shutil.which("nvidia-smi")
    if path is None:
        return None
    answers = [answer_of([path, *words]) for words in (["-L"], [])]
    return "\n".join(answer for answer in answers if answer) or None


def answer_of(command: Sequence[str]) -> str | None:
    """What a tool prints; None if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _torch() -> Torch:
    import torch

    if not torch.cuda.is_available():
        return Torch(torch.__version__, torch.version.cuda)
    devices = [
        (torch.cuda.get_device_name(number), torch.cuda.get_device_capability(number))
        for number in range(torch.cuda.device_count())
    ]
    return Torch(torch.__version__, torch.version.cuda, True, torch.cuda.get_arch_list(), devices)


def _torchvision_wants() -> str | None:
    needs = map(Requirement, importlib.metadata.requires("torchvision") or ())
    return next((str(need.specifier) for need in needs if need.name == "torch" and need.specifier), None)


def _torchvision_fault() -> str | None:
    try:
        import torchvision  # noqa: F401
    except ModuleNotFoundError:
        return None  # not there, which the versions say
    except Exception as error:
        return (str(error).strip() or type(error).__name__).splitlines()[0]
    return None


def _pillow_lacks() -> list[str]:
    from PIL import features

    return [kind for kind in ("webp", "avif", "jpg_2000") if not features.check(kind)]


def _flushes() -> bool:
    import torch

    smallest = torch.tensor([1e-40])
    return bool((smallest * 1.0 == 0).item())


def mount_of(machine: Machine, path: Path) -> tuple[str, str] | None:
    """(kind of file system, options) of the mount that holds `path`."""
    best: tuple[int, str, str] | None = None
    resolved = path.resolve()
    for place, kind, options in _mounts(machine.root / "proc/mounts"):
        if resolved.is_relative_to(place) and (best is None or len(place.parts) >= best[0]):
            best = (len(place.parts), kind, options)
    return (best[1], best[2]) if best else None


def _mounts(path: Path) -> Iterator[tuple[Path, str, str]]:
    with suppress(OSError):
        for line in path.read_text(errors="replace").splitlines():
            words = line.split()
            if len(words) >= 4:
                yield Path(words[1].replace("\\040", " ")), words[2], words[3]
