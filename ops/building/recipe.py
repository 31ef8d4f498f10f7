"""How a library is made: its sources and flags, and the digest of everything that determines its bytes."""

from __future__ import annotations

import hashlib
import json
import platform
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch

from ops.building import tools
from ops.building.tools import CannotBuild, Tool

Kind = Literal["cpu", "cuda"]
SOURCES = Path(__file__).parents[1] / "csrc"
PRELUDE = "prelude.h"
"""A header that is compiled once, ahead of a CPU library's sources, all of which begin with it."""
_TORCH = Path(torch.__file__).parent
_WARNINGS = ("-Wall", "-Wno-unknown-pragmas")


@dataclass(frozen=True)
class Recipe:
    """How to make one library. missing: why it cannot be made here, although it may be in the cache."""

    kind: Kind
    root: Path
    sources: tuple[Path, ...]  # what is compiled, relative to root
    level: str  # instruction set, or the GPU architectures joined by commas
    cxx: Tool | None
    nvcc: Tool | None = None
    missing: str | None = None

    @property
    def library(self) -> str:
        """The file name of the library."""
        return f"hrgan_{self.kind}.so"

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Everything that determines what the library does; equal identities mean equivalent libraries."""
        return {
            "kind": self.kind,
            "sources": content(self.root, self.kind),
            "torch": f"{torch.__version__} {torch.version.git_version}",
            "abi": f"{platform.machine()} cxx11={int(torch.compiled_with_cxx11_abi())}",
            "level": self.level,
            "flags": [*self.compile_flags(), *self.nvcc_flags()],
            "cxx": self.cxx.version if self.cxx else "",
            "nvcc": self.nvcc.version if self.nvcc else "",
        }

    @property
    def digest(self) -> str:
        """The digest of the identity, which names the library's folder in the cache."""
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()

    def compile_flags(self) -> tuple[str, ...]:
        """Returns the flags for the C++ compiler; no paths, as a cache may serve several installations."""
        common = (
            "-O3",
            "-fPIC",
            "-std=c++20",
            f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}",
        )
        if self.kind == "cuda":
            return common
        return (*common, *_WARNINGS, "-fopenmp", "-ffp-contract=fast", "-fno-math-errno", *_march(self.level))

    def nvcc_flags(self) -> tuple[str, ...]:
        """Returns the flags for nvcc; -Xptxas -v writes the resources of each kernel to the log."""
        if self.kind == "cpu":
            return ()
        return ("-lineinfo", "--expt-relaxed-constexpr", "-Xptxas", "-v", *_gencode(self.level.split(",")))

    def script(self) -> str:
        """Returns the text of build.ninja, which makes every object beside it and then the library."""
        objects = [f"{source.as_posix().replace('/', '.')}.o" for source in self.sources]
        lines = ["ninja_required_version = 1.5", *_rules(self)]
        after = ""
        if _has_prelude(self):
            lines.append(f"build {PRELUDE}.gch: prelude {_path(str(self.root / PRELUDE))}")
            after = f" | {PRELUDE}.gch"
        for source, made in zip(self.sources, objects, strict=True):
            rule = "nvcc" if source.suffix == ".cu" else "cxx"
            lines.append(f"build {_path(made)}: {rule} {_path(str(self.root / source))}{after}")
        lines.append(f"build {self.library}: link {' '.join(_path(made) for made in objects)}")
        return "\n".join([*lines, f"default {self.library}", ""])


def cpu_recipe(root: Path = SOURCES) -> Recipe:
    """Returns the recipe of the library with schemas, derivatives and CPU kernels (registration.cpp,
    autograd/*.cpp and cpu/*.cpp)."""
    patterns = ("registration.cpp", "autograd/*.cpp", "cpu/*.cpp")
    sources = tuple(path for pattern in patterns for path in _relative(root, pattern))
    cxx, missing = _or_why(tools.find_cxx)
    return Recipe("cpu", root, sources, tools.cpu_level(), cxx, missing=missing)


def cuda_recipe(root: Path = SOURCES, archs: str | None = None) -> Recipe:
    """Returns the recipe of the library with CUDA kernels: cuda/*.cu, and cuda/*.cpp for code that does not
    need nvcc, which is slow.

    archs: see `tools.choose_archs`. Raises CannotBuild if an architecture is unknown.
    """
    cxx, no_cxx = _or_why(tools.find_cxx)
    nvcc, no_nvcc = _or_why(tools.find_nvcc)
    # Without a compiler, a library compiled elsewhere for these GPUs may still be in the cache.
    level = ",".join(tools.choose_archs(archs, tools.known_archs(nvcc.path) if nvcc else None))
    sources = (*_relative(root, "cuda/*.cu"), *_relative(root, "cuda/*.cpp"))
    return Recipe("cuda", root, sources, level, cxx, nvcc, no_cxx or no_nvcc)


def fits(built: dict[str, Any], wanted: Recipe) -> bool:
    """Returns whether a library made elsewhere, perhaps by another compiler, serves for this recipe."""
    same = ("kind", "sources", "torch", "abi")
    if any(built.get(key) != wanted.identity[key] for key in same):
        return False
    if wanted.kind == "cpu":
        return bool(built.get("level") == wanted.level)
    made = {name.removesuffix("+PTX") for name in str(built.get("level")).split(",")}
    return {name.removesuffix("+PTX") for name in wanted.level.split(",")} <= made


def content(root: Path, kind: Kind) -> str:
    """Returns the sha256 over names and bytes of the sources of this kind, headers included."""
    cpu = ("registration.cpp", "autograd/**/*", "cpu/**/*", "*.h")
    patterns = cpu if kind == "cpu" else ("cuda/**/*", "**/*.h")
    digest = hashlib.sha256()
    for path in sorted({path for p in patterns for path in _relative(root, p)}):
        if (root / path).is_file():
            data = (root / path).read_bytes()
            digest.update(f"{path.as_posix()} {len(data)}\n".encode() + data)
    return digest.hexdigest()


def _or_why(find: Any) -> tuple[Tool | None, str | None]:
    try:
        return find(), None
    except CannotBuild as error:
        return None, str(error)


def _relative(root: Path, pattern: str) -> tuple[Path, ...]:
    return tuple(sorted(path.relative_to(root) for path in root.glob(pattern)))


def _march(level: str) -> tuple[str, ...]:
    if not level.startswith("x86-64"):
        return ()
    # Compilers prefer 256 bits by default, because some chips slow down under AVX-512.
    wide = ("-mprefer-vector-width=512",) if level == "x86-64-v4" else ()
    return (f"-march={level}", *wide, *_vectors(level))


def _vectors(level: str) -> tuple[str, ...]:
    """Returns the definitions without which torch's vector classes are mere arrays of numbers."""
    name = {"x86-64-v4": "AVX512", "x86-64-v3": "AVX2"}.get(level)
    return (f"-DCPU_CAPABILITY={name}", f"-DCPU_CAPABILITY_{name}") if name else ()


def _gencode(archs: Sequence[str]) -> list[str]:
    flags = []
    for name in archs:
        number = name.removesuffix("+PTX").replace(".", "")
        codes = [f"sm_{number}"] + ([f"compute_{number}"] if name.endswith("+PTX") else [])
        flags += [f"-gencode=arch=compute_{number},code={code}" for code in codes]
    return flags


def _has_prelude(recipe: Recipe) -> bool:
    return recipe.kind == "cpu" and (recipe.root / PRELUDE).is_file()


def _rules(recipe: Recipe) -> list[str]:
    include = " ".join(_word(flag) for flag in [f"-I{recipe.root}", *_includes(recipe)])
    cxx = _word(recipe.cxx.path if recipe.cxx else "c++")
    flags = " ".join(recipe.compile_flags())
    lines: list[str] = []
    begin = ""
    if _has_prelude(recipe):
        lines = _rule("prelude", f"{cxx} {flags} {include} -x c++-header $in -o $out")
        # Looked for where the compiler runs, which is where its compiled form is, then at the root.
        begin = f"-Winvalid-pch -include {PRELUDE} "
    lines += _rule("cxx", f"{cxx} {flags} {include} {begin}-c $in -o $out")
    if recipe.nvcc:
        passed = " ".join(flag for flag in recipe.compile_flags() if flag != "-fPIC")
        more = " ".join(_word(flag) for flag in ("-Xcompiler", "-fPIC", *recipe.nvcc_flags()))
        nvcc = f"{_word(recipe.nvcc.path)} -ccbin {cxx}"
        lines += _rule("nvcc", f"{nvcc} {passed} {more} {include} -c $in -o $out")
    libraries = " ".join(_word(flag) for flag in _link_flags(recipe))
    return [*lines, *_rule("link", f"{cxx} -shared $in -o $out {libraries}")]


def _rule(name: str, command: str) -> list[str]:
    return [f"rule {name}", f"  command = {command}", f"  description = {name} $out"]


def _includes(recipe: Recipe) -> list[str]:
    folders = [_TORCH / "include", _TORCH / "include/torch/csrc/api/include"]
    # A toolkit may lack the headers of cuBLAS and others that torch's headers include; torch's own packages
    # have them. nvcc searches its toolkit first, so that all of its own headers are of one version.
    if recipe.nvcc:
        toolkit = tools.toolkit_of(recipe.nvcc.path) / "include"
        folders += [folder for folder in (toolkit, _runtime() / "include") if folder.is_dir()]
    return [word for folder in folders for word in ("-isystem", str(folder))]


def _link_flags(recipe: Recipe) -> list[str]:
    lib = _TORCH / "lib"
    flags = [f"-L{lib}", f"-Wl,-rpath,{lib}", "-lc10", "-ltorch_cpu", "-ltorch", "-Wl,-z,defs"]
    if recipe.kind == "cuda":
        return [*flags, "-lc10_cuda", "-ltorch_cuda", *_cudart(recipe)]
    # torch's own OpenMP runtime by name, because a second one in the process would have threads of its own.
    return [*flags, "-l:libgomp.so.1"] if (lib / "libgomp.so.1").exists() else [*flags, "-fopenmp"]


def _cudart(recipe: Recipe) -> list[str]:
    """Returns the flags to link the CUDA runtime that torch has loaded, or else that of the toolkit."""
    runtimes = sorted((_runtime() / "lib").glob("libcudart.so.*"))
    if runtimes:
        return [f"-L{runtimes[0].parent}", f"-l:{runtimes[0].name}"]
    assert recipe.nvcc
    home = tools.toolkit_of(recipe.nvcc.path)
    return [f"-L{home / folder}" for folder in ("lib64", "lib") if (home / folder).is_dir()] + ["-lcudart"]


def _runtime() -> Path:
    return _TORCH.parent / "nvidia" / f"cu{str(torch.version.cuda).split('.')[0]}"


def _path(text: str) -> str:
    """Returns a path, escaped for ninja's build lines."""
    return text.replace("$", "$$").replace(" ", "$ ").replace(":", "$:")


def _word(text: str) -> str:
    """Returns one argument of a command, quoted for the shell and then for ninja."""
    return shlex.quote(text).replace("$", "$$")
