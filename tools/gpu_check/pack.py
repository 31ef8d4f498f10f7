"""What a GPU machine without a network lacks: wheels, and the operations compiled for its torch and its GPU.

Made here, by a Python whose torch is the one there; used there with --packed.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ops.build import obtain
from ops.building.cache import ENVIRONMENT, Cache
from ops.building.recipe import Kind, cpu_recipe, cuda_recipe, fits
from ops.building.tools import CannotBuild
from pipeline.errors import RunFailed, UserError

MOST = 60 << 20  # bytes
PYTHON = "3.12"
_ROOT = Path(__file__).parents[2]
_TESTS = ("pytest", "pytest-xdist", "pytest-timeout", "hypothesis", "scikit-learn")
_GIVEN = {"torch", "torchvision"}  # too large to carry: a machine with a GPU has them
_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64",
              "manylinux2014_x86_64", "manylinux1_x86_64")  # fmt: skip
_KINDS: tuple[Kind, ...] = ("cpu", "cuda")


def make(folder: Path, arch: str, present: Path | None) -> int:
    """Fills FOLDER/wheels and FOLDER/ops, and says how large it is and how it is used. present: a file of the
    packages that are there, one a line. Exit code 1 if it is larger than may be carried."""
    names = read_names(present) if present else set()
    shutil.rmtree(folder / "wheels", ignore_errors=True)
    wanted = sorted(closure(requirements(), names))
    download(wanted, folder / "wheels")
    compiled(folder / "ops", arch)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}: {size / 2**20:.1f} MiB of at most {MOST >> 20}; wheels: {', '.join(wanted)}")
    print(f"compiled for torch {torch.__version__}, sm_{arch.replace('.', '')}. There:")
    print(usage(folder))
    return int(size > MOST)


def usage(folder: Path) -> str:
    """The command that uses the pack, in the checkout on the other machine, whose results go to $OUT."""
    wheels = f"{folder}/wheels"
    return (
        f"python3 -m pip install -q --no-index --no-deps --no-compile --target /tmp/site {wheels}/*.whl && "
        f"PYTHONPATH=/tmp/site python3 -m tools.gpu_check --packed {folder} --out $OUT"
    )


def read_names(path: Path) -> set[str]:
    """Returns the names of packages from a file with one per line; what follows a name, such as a version, is
    ignored."""
    if not path.is_file():
        raise UserError(f"--present {path}: no such file; allowed: a file with a package a line")
    return {
        canonicalize_name(line.split()[0].split("==")[0]) for line in path.read_text().split("\n") if line
    }


def requirements() -> list[str]:
    """What the product and its tests on a GPU import, as requirements."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    return [*project["dependencies"], *_TESTS]


def closure(requirements: Iterable[str], present: set[str]) -> set[str]:
    """NAME==VERSION of each package that is needed and neither present nor given, as they are installed here.

    What a present package needs is taken to be there too. RunFailed for what is not installed here.
    """
    needed: dict[str, str] = {}
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        one = waiting.pop()
        name = canonicalize_name(one.name)
        there = name in needed or name in present or name in _GIVEN
        if there or (one.marker and not one.marker.evaluate({"extra": "", "python_version": PYTHON})):
            continue
        try:
            installed = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            raise RunFailed(f"{name}: not installed here: its version is not known") from None
        needed[name] = installed.version
        waiting += [Requirement(text) for text in installed.requires or []]
    return {f"{name}=={version}" for name, version in needed.items()}


def download(wanted: Sequence[str], folder: Path) -> None:
    """Their wheels for Python 3.12 on x86-64, from the index that pip is set to."""
    folder.mkdir(parents=True)
    if not wanted:
        return
    platforms = [word for name in _PLATFORMS for word in ("--platform", name)]
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:",
               "--python-version", PYTHON, "--implementation", "cp", *platforms, "-d", str(folder),
               *wanted]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        errors = re.findall(r"^ERROR: (.*)", done.stderr, re.MULTILINE)
        raise RunFailed(f"pip download: {errors[-1] if errors else f'exit code {done.returncode}'}")


def compiled(root: Path, arch: str) -> None:
    """Both libraries and no others, in a cache of its own at `root`. RunFailed where they do not compile."""
    if torch.version.cuda is None:
        raise RunFailed("this torch is a CPU build: the pack wants the torch of the other machine")
    root, before = root.absolute(), os.environ.get(ENVIRONMENT)
    os.environ[ENVIRONMENT] = str(root)
    try:
        made = [obtain(kind, print, archs=arch if kind == "cuda" else None, retry=True) for kind in _KINDS]
    except CannotBuild as error:
        raise RunFailed(str(error)) from error
    finally:
        os.environ.pop(ENVIRONMENT)
        if before is not None:
            os.environ[ENVIRONMENT] = before
    for path in set(root.iterdir()) - {one.path.parent for one in made}:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def adopt(packed: Path, root: Path) -> list[str]:
    """Takes the carried libraries, whichever compiler made them, into a cache at `root`, which this process
    and its children use from now on; what does not fit this torch, processor or GPU, or does not load here,
    is named and left to be compiled."""
    if not (packed / "ops").is_dir():
        raise UserError(f"--packed {packed}: no pack; allowed: a folder that --pack made")
    os.environ[ENVIRONMENT] = str(root)
    carried, cache = Cache((packed / "ops").absolute()), Cache(root)
    left, good = list[str](), list[Path]()
    cache.prepare()
    for kind in _KINDS:
        recipe = cuda_recipe() if kind == "cuda" else cpu_recipe()
        library = carried.search(lambda identity, recipe=recipe: fits(identity, recipe))  # type: ignore[misc]
        if library is None or not _load([*good, library]):
            left.append(kind)
            continue
        good.append(library)
        if cache.read(recipe.digest) is None:
            with cache.building() as folder:
                shutil.copy2(library, folder / recipe.library)
                (folder / "alive").unlink(missing_ok=True)
                cache.publish(folder, recipe.digest, recipe.library, recipe.identity, carried=str(library))
    return left


def _load(libraries: Sequence[Path]) -> bool:
    """They load into one process, in this order: they may want a newer system than this one is."""
    lines = "; ".join(f"torch.ops.load_library({str(path)!r})" for path in libraries)
    done = subprocess.run([sys.executable, "-c", f"import torch; {lines}"], capture_output=True, check=False)
    return done.returncode == 0
