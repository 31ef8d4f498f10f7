"""`hrgan doctor`: what this machine has, what it lacks, and how to get it; or what is wrong with a run."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from launch.doctor.problem import Problem
from pipeline.errors import UserError
from pipeline.evaluation.metrics.registry import METRICS, PLAIN
from pipeline.words import table

GIB = 2**30
REQUIRED = (
    "torch",
    "torchvision",
    "numpy",
    "pillow",
    "simplejpeg",
    "webdataset",
    "accelerate",
    "safetensors",
    "tensorboard",
)
OPTIONAL = {  # package -> extra that installs it, what it is for
    "deepspeed": ("deepspeed", "sharded optimizers"),
    "submitit": ("slurm", "jobs on a SLURM cluster"),
    "torch-fidelity": ("eval", "metrics that need weights"),
    "scipy": ("eval", "torch-fidelity"),
    "fsspec": ("cloud", "data sets by URL"),
    "s3fs": ("cloud", "data sets in S3"),
    "gcsfs": ("cloud", "data sets in Google's storage"),
    "adlfs": ("cloud", "data sets in Azure's storage"),
    "scikit-learn": ("demo", "demo:digits"),
    "pillow-heif": ("heic", "HEIC pictures"),
    "pyarrow": ("sources", "Parquet and Arrow"),
    "lmdb": ("sources", "LMDB databases"),
    "av": ("sources", "videos"),
    "huggingface-hub": ("sources", "hf://OWNER/NAME"),
    "imagecodecs": ("decoders", "PNG and WebP decoded in two thirds of the time"),
}
PACKAGES = ("launch", "ops", "pipeline")
"""What an installed hrgan puts on the import path."""
WEIGHTS = {
    "Inception": "weights-inception-2015-12-05-6726825d.pth",
    "VGG16": "vgg16-397923af.pth",
}


@dataclass(frozen=True)
class Finding:
    """One line: what was looked for, whether it is fine (None: optional and absent), what was found."""

    section: str
    name: str
    fine: bool | None
    found: str


def doctor(
    run: Annotated[
        Path | None,
        typer.Argument(metavar="RUN", help="A run's folder, to look at that instead of this machine."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of a table.")
    ] = False,
) -> int:
    """Show what is wrong with this machine or with a run.

    Of a machine it lists versions, compilers, fused operations (and why they are not compiled), GPUs, SLURM
    and memory, and names what is in the way. Of a run it reads the log, the metrics and the images, and says
    what was seen, what that means and what to try. The exit code is 1 if something is WRONG, else 0.

    \b
    Examples:
      hrgan doctor
      hrgan doctor runs/faces
      hrgan doctor --json
    """
    return _machine_report(as_json) if run is None else _run_report(run, as_json)


def _machine_report(as_json: bool) -> int:
    from launch.doctor.machine import this_machine
    from launch.doctor.problems import mending, problems

    findings = examine()
    wrong = [Problem(f.name, True, f.found, "as it says") for f in findings if f.fine is False]
    found = [*problems(this_machine()), *wrong]
    if as_json:
        typer.echo(_json(findings, found))
    else:
        typer.echo("\n\n".join([_table(findings), *([mending(found)] if found else [])]))
    return int(any(one.wrong for one in found))


def _run_report(run: Path, as_json: bool) -> int:
    from launch.cluster.queue import ask_queue
    from launch.cluster.run_states import is_run
    from launch.doctor.examining import diagnoses, run_json, run_report
    from launch.doctor.run_readings import read_run

    if not is_run(run):
        what = "holds no run" if run.is_dir() else "no such folder"
        raise UserError(f"{run}: {what}; allowed: the folder of a run (hrgan runs lists them)")
    readings = read_run(run, ask_queue())
    found = diagnoses(readings)
    # In ASCII: names may be bytes that no terminal can show.
    typer.echo(json.dumps(run_json(readings, found)) if as_json else run_report(readings, found))
    return int(any(one.wrong for one in found))


def examine() -> list[Finding]:
    """Everything there is to say about this machine; never raises."""
    sections: dict[str, Callable[[], Iterator[tuple[str, bool | None, str]]]] = {
        "versions": _versions,
        "packages": _packages,
        "decoders": _decoders,
        "compilers": _compilers,
        "operations": _operations,
        "GPUs": _gpus,
        "cluster": _cluster,
        "machine": _machine,
        "weights": _weights,
    }
    return [finding for name, look in sections.items() for finding in _section(name, look)]


def _section(name: str, look: Callable[[], Iterator[tuple[str, bool | None, str]]]) -> Iterator[Finding]:
    # A broken installation is what a doctor is called for: whatever fails is a finding.
    try:
        for finding in look():
            yield Finding(name, *finding)
    except Exception as error:
        yield Finding(name, "error", False, f"{type(error).__name__}: {_first_line(str(error))}")


def _versions() -> Iterator[tuple[str, bool | None, str]]:
    yield "hrgan", True, _installed("hrgan") or "not installed"
    yield "python", sys.version_info >= (3, 11), f"{platform.python_version()} ({sys.executable})"
    for package in REQUIRED:
        version = _installed(package)
        yield package, version is not None, version or f"not installed: pip install {package}"
    for package, (extra, purpose) in OPTIONAL.items():
        version = _installed(package)
        yield (
            package,
            True if version else None,
            version or f"not installed ({purpose}): pip install 'hrgan[{extra}]'",
        )
    yield "torch's CUDA", *_cuda_build()
    yield "torchvision works", *_torchvision_works()


def _packages() -> Iterator[tuple[str, bool | None, str]]:
    """Others use these names too, Juju `ops` and ROS `launch`: files of two packages mix, or one hides the
    other."""
    bringing = importlib.metadata.packages_distributions()
    ours = Path(__file__).parents[2]
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        places = [Path(place).parent for place in (spec and spec.submodule_search_locations) or ()]
        others = sorted({f"{one} {_installed(one)}" for one in bringing.get(name, ()) if one != "hrgan"})
        if others:
            fault = f"{' and '.join(others)} installs a package {name} too"
            yield name, False, f"{fault}; install hrgan into an environment of its own"
        elif places != [ours]:
            yield name, False, f"imported from {places[0] if places else 'nowhere'}, not from {ours}"
        else:
            yield name, True, str(ours / name)


def _decoders() -> Iterator[tuple[str, bool | None, str]]:
    """What decodes each stored format: a machine without the faster library makes the same pixels, later."""
    from pipeline.images.decoders import FASTER

    for format, faster in FASTER.items():
        if faster.installed:
            yield format, True, f"{faster.package} {_installed(faster.package)}"
        else:
            yield format, None, f"PIL, slower than {faster.package}, which is not installed"


def _cuda_build() -> tuple[bool | None, str]:
    import torch

    build = torch.version.cuda
    return (True, build) if build else (None, "none: this torch is a CPU build")


def _torchvision_works() -> tuple[bool, str]:
    """A torchvision made for another torch installs without complaint and fails when imported."""
    try:
        import torchvision  # noqa: F401
    except Exception as error:
        return False, f"no ({_first_line(str(error))}): install the torchvision that belongs to this torch"
    return True, "yes"


def _compilers() -> Iterator[tuple[str, bool | None, str]]:
    from ops.building import tools

    finders: dict[str, Callable[[], str]] = {
        "g++": lambda: tools.find_cxx().path,
        "ninja": tools.find_ninja,
        "nvcc": lambda: tools.find_nvcc().path,
    }
    for name, find in finders.items():
        try:
            yield name, True, _tool(find())
        except tools.CannotBuild as error:
            yield name, None, str(error)


def _operations() -> Iterator[tuple[str, bool | None, str]]:
    """What would run, with the libraries that are there: nothing is compiled for a look."""
    import ops
    from ops.build import status

    try:
        ops.use("auto", tell=lambda line: None, build=False)
    except (ops.NativeOpsMissing, ValueError) as error:  # the environment asks for what is not there
        yield "backend", False, str(error)
    for kind in ("cpu", "cuda"):
        there = status(kind)
        digest = f"digest {there.digest[:32]}" if there.digest else "no digest"
        yield f"{kind} library", True if there.path else None, f"{there.path or there.cause} ({digest})"
    for op in ops.state():
        native = op.implementation == "native"
        running = "native" if native else f"plain PyTorch ({op.reason})"
        yield f"{op.name}, {op.device}", True if native else None, running


def _gpus() -> Iterator[tuple[str, bool | None, str]]:
    import torch

    if not torch.cuda.is_available():
        yield "CUDA devices", None, "none: everything runs on the CPU"
        return
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        size = f"{device.total_memory / GIB:.0f} GiB"
        yield f"cuda:{index}", True, f"{device.name}, {size}, sm_{device.major}{device.minor}"


def _cluster() -> Iterator[tuple[str, bool | None, str]]:
    path = shutil.which("sbatch")
    yield "SLURM", True if path else None, _tool(path) if path else "sbatch not found"
    if path:
        yield from _partitions()
    if "SLURM_JOB_ID" in os.environ:
        yield "job", True, os.environ["SLURM_JOB_ID"]


def _partitions() -> Iterator[tuple[str, bool | None, str]]:
    """What a cluster file may ask for; a machine may have SLURM's commands and no cluster."""
    command = ["sinfo", "--noheader", "--format=%P|%D|%T|%c|%m|%G|%l"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no reason given"]
        yield "partitions", None, f"no answer: {said[-1]}"
    for line in done.stdout.splitlines():
        name, nodes, state, cores, megabytes, gpus, limit = line.split("|")
        default = " (default)" if name.endswith("*") else ""
        per_node = f"{cores} cores, {megabytes} MB, {'no GPUs' if gpus == '(null)' else gpus}"
        yield (
            f"partition {name.rstrip('*')}",
            True,
            f"{nodes} nodes {state}{default}: {per_node}; up to {limit}",
        )


def _machine() -> Iterator[tuple[str, bool | None, str]]:
    yield "system", True, platform.platform()
    yield "CPU cores", True, f"{len(os.sched_getaffinity(0))} usable of {os.cpu_count()}"
    pages = os.sysconf("SC_PAGE_SIZE")
    total = os.sysconf("SC_PHYS_PAGES") * pages / GIB
    yield "memory", True, f"{total:.1f} GiB, {os.sysconf('SC_AVPHYS_PAGES') * pages / GIB:.1f} free"
    shared = Path("/dev/shm")
    if not shared.is_dir():
        yield "/dev/shm", None, "not there: use data.workers=0"
        return
    size = shutil.disk_usage(shared).total / GIB
    small = size < 0.25
    advice = ", small for loader workers: use data.workers=0 or docker run --shm-size=8g" if small else ""
    yield "/dev/shm", None if small else True, f"{size:.1f} GiB{advice}"


def _weights() -> Iterator[tuple[str, bool | None, str]]:
    home = Path(os.environ.get("TORCH_HOME", Path.home() / ".cache/torch"))
    for name, file in WEIGHTS.items():
        path = home / "hub/checkpoints" / file
        there = path.is_file()
        needed_by = ", ".join(metric.name for metric in METRICS.values() if name in metric.weights)
        lack = f"not at {path}; {needed_by} need it, {' and '.join(PLAIN)} do not"
        yield name, there or None, str(path) if there else lack


def _installed(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _tool(path: str) -> str:
    """What `path --version` says of the version, and where it is."""
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{path} does not run: {_first_line(str(error))}"
    lines = [line.strip() for line in done.stdout.splitlines() if any(c.isdigit() for c in line)]
    versions = [line for line in lines if "release" in line] or lines  # nvcc names it in its fourth line
    return f"{versions[0] if versions else 'no version'} ({path})"


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0][:200] if text.strip() else "no message"


def _table(findings: list[Finding]) -> str:
    marks = {True: "ok", None: "-", False: "WRONG"}
    sections: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    for finding in findings:
        sections[finding.section].append((marks[finding.fine], finding.name, finding.found))
    return "\n\n".join(f"{name}\n{table(rows, indent=2)}" for name, rows in sections.items())


def _json(findings: list[Finding], found: list[Problem]) -> str:
    content = {"findings": list(map(asdict, findings)), "problems": list(map(asdict, found))}
    return json.dumps(content, indent=1, ensure_ascii=False)
