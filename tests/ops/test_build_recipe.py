"""What a library is made of: compilers, instruction sets, GPU architectures, and the digest of it all."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from ops import build
from ops.building import tools
from ops.building.recipe import cpu_recipe, cuda_recipe
from ops.building.report import Kernel, read_log, short, table
from ops.building.tools import CannotBuild


def test_what_decides_the_library_decides_the_digest(source, monkeypatch):
    base = cpu_recipe(source).digest
    assert cpu_recipe(source).digest == base
    (source / "cuda").mkdir()
    (source / "cuda/kernel.cu").write_text("// of the other library")
    assert cpu_recipe(source).digest == base
    (source / "cpu/count.h").write_text("constexpr int kOne = 2;\n")
    header = cpu_recipe(source).digest
    (source / "cpu/more.cpp").touch()
    more = cpu_recipe(source)
    changed = [
        more.digest,
        replace(more, level="x86-64").digest,
        replace(more, cxx=tools.Tool("g++", "g++ 99")).digest,
        replace(more, kind="cuda").digest,
    ]
    monkeypatch.setattr("torch.__version__", "99")
    changed.append(cpu_recipe(source).digest)
    assert len({base, header, *changed}) == 7


def test_a_prelude_is_compiled_once_and_every_source_begins_with_it(source, root):
    (source / "prelude.h").write_text("constexpr int kOne = 1;\n")
    (source / "cpu/count.h").write_text("")
    made = build.obtain("cpu", print, root=source)
    log = made.log.read_text()
    assert log.count("-x c++-header") == 1
    assert log.count("-include prelude.h") == 2
    assert "warning" not in log  # as there would be of one that cannot be read
    assert {path.name for path in made.path.parent.iterdir()} >= {made.path.name, "manifest.json"}
    assert not list(made.path.parent.glob("*.gch"))
    # Its text is a source like others, and stands in for what a compiler cannot make of it.
    (source / "prelude.h").write_text("constexpr int kTwo = 2;\n")
    with pytest.raises(CannotBuild, match="kOne"):
        build.obtain("cpu", print, root=source)


def test_the_instruction_set_is_the_widest_this_cpu_has(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    three = tools.LEVELS["x86-64-v3"]
    four = three | tools.LEVELS["x86-64-v4"]
    assert tools.cpu_level(four | {"sse"}) == "x86-64-v4"
    assert tools.cpu_level(four - {"avx512vl"}) == "x86-64-v3"
    assert tools.cpu_level(three - {"fma"}) == "x86-64"
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert tools.cpu_level(set()) == "aarch64"


KNOWN = ("7.5", "8.0", "8.6", "9.0", "9.0a", "10.0")


def test_architectures(monkeypatch):
    monkeypatch.delenv("TORCH_CUDA_ARCH_LIST", raising=False)
    monkeypatch.setattr(tools, "visible_archs", lambda: ())
    assert tools.choose_archs(None, KNOWN) == ("8.0", "9.0+PTX")
    assert tools.choose_archs("sm_90a, 8.0+PTX", KNOWN) == ("8.0+PTX", "9.0a")
    monkeypatch.setattr(tools, "visible_archs", lambda: ("8.6", "12.0"))
    assert tools.choose_archs(None, KNOWN) == ("8.6", "10.0+PTX")  # newer than nvcc: by way of PTX
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "8.6;9.0")
    assert tools.choose_archs(None, KNOWN) == ("8.6", "9.0+PTX")
    with pytest.raises(CannotBuild) as caught:
        tools.choose_archs("3.5", KNOWN)
    assert str(caught.value) == f"--arch: this nvcc does not know 3.5; it knows {', '.join(KNOWN)}"
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "Pascal")
    with pytest.raises(
        CannotBuild, match=r"TORCH_CUDA_ARCH_LIST: this nvcc does not know Pascal; it knows 7\.5"
    ):
        tools.choose_archs(None, KNOWN)


def test_a_toolkit_of_another_major_version_is_refused(tmp_path, monkeypatch):
    script = tmp_path / "bin/nvcc"
    script.parent.mkdir()
    script.write_text('#!/bin/sh\necho "Cuda compilation tools, release 9.2, V9.2.148"\n')
    script.chmod(0o755)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    monkeypatch.setattr("torch.version.cuda", "13.2")
    with pytest.raises(
        CannotBuild, match=r"is of CUDA 9.2, torch of CUDA 13.2: set CUDA_HOME to a toolkit 13.x"
    ):
        tools.find_nvcc()
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "none"))
    with pytest.raises(CannotBuild, match="has no bin/nvcc: install the CUDA toolkit, set CUDA_HOME, or pip"):
        tools.find_nvcc()


@pytest.fixture
def nvcc():
    try:
        return tools.find_nvcc()
    except CannotBuild as error:
        pytest.skip(f"no nvcc: {error}")


def test_a_cuda_library_and_its_table(tmp_path, root, nvcc, monkeypatch, capsys):
    source = tmp_path / "csrc"
    (source / "cuda").mkdir(parents=True)
    (source / "cuda/kernel.cu").write_text(
        "namespace { template <int N> __global__ void add(float* x) { x[threadIdx.x] += N; } }\n"
        "void add_three(float* x) { add<3><<<1, 32>>>(x); }\n"
    )
    (source / "cuda/plain.cpp").write_text(
        "#include <cuda_runtime_api.h>\nvoid add_three(float* x);\n"
        'extern "C" int hrgan_add(float* x) { add_three(x); return cudaGetLastError(); }\n'
    )
    monkeypatch.setattr(build, "cuda_recipe", lambda root, archs: cuda_recipe(source, archs))
    assert build.main(["--cuda", "--arch", "8.0;9.0+PTX", "--report"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("cuda: compiled in ")
    assert [line.split()[:2] for line in lines[2:4]] == [["add<3>", "80"], ["add<3>", "90"]]
    assert lines[4].startswith("2 kernels, 0 spill, at most ")
    (manifest,) = root.glob("*/manifest.json")
    assert json.loads(manifest.read_text())["identity"]["level"] == "8.0,9.0+PTX"
    assert build.main(["--cuda", "--arch", "8.0;9.0+PTX"]) == 0
    assert capsys.readouterr().out.startswith("cuda: there: ")
    # Compiled for more than is asked for, it serves where nothing compiles.
    monkeypatch.setattr(tools, "find_nvcc", lambda: (_ for _ in ()).throw(CannotBuild("no nvcc")))
    assert build.obtain("cuda", print, archs="8.0").path.parent == manifest.parent
    with pytest.raises(CannotBuild, match="no nvcc"):
        build.obtain("cuda", print, archs="8.0,10.0")


PTXAS = """
ptxas info    : Compiling entry function '_Z3addPf' for 'sm_80'
ptxas info    : Function properties for _Z3addPf
    16 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 16 bytes cumulative stack size, 4096 bytes smem
ptxas info    : Compiling entry function '_Z3addPf' for 'sm_90'
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 10 registers, used 0 barriers
"""


def test_what_ptxas_says_of_kernels():
    first, second = read_log(PTXAS)
    assert first == Kernel("_Z3addPf", "80", 255, 8, 12, 4096)
    assert second == Kernel("_Z3addPf", "90", 10)
    lines = table([second, first]).splitlines()
    assert lines[1].split()[-5:] == ["80", "255", "8", "12", "4096"]  # what spills comes first
    assert lines[-1] == "2 kernels, 1 spill, at most 255 registers"


@pytest.mark.parametrize(
    ("signature", "name"),
    [
        ("void space::(anonymous namespace)::kernel<float, (int)4>(float*, int)", "kernel<float, 4>"),
        ("void kernel<c10::Half, (bool)1>(c10::Half const*)", "kernel<Half, 1>"),
        ("_Z3add", "_Z3add"),
    ],
)
def test_short_names(signature, name):
    assert short(signature) == name


def test_ninja_is_that_of_the_package(monkeypatch):
    assert Path(tools.find_ninja()).name == "ninja"
    monkeypatch.setattr(tools, "_files_of", lambda package: [])
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(CannotBuild, match="no ninja: pip install ninja"):
        tools.find_ninja()
