"""The build of compiled operations: real processes and a real compiler, on sources that take no time."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ops import build
from ops.building import cache as caching
from ops.building import make as building
from ops.building.cache import BUILDING, Cache
from ops.building.make import make
from ops.building.recipe import cpu_recipe
from ops.building.tools import CannotBuild

ROOT = Path(__file__).resolve().parents[2]
HELD = 1.0  # seconds that a compilation takes where processes are to meet in it


def compilations(compiler):
    calls = compiler / "calls"
    return len(calls.read_text().split()) if calls.exists() else 0


def obtain(source, told=None, **options):
    return build.obtain("cpu", (told if told is not None else []).append, root=source, **options)


def python(code, *arguments, **environment):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2", **environment}
    return subprocess.Popen(
        command, env=env, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finished(process, timeout=120):
    out, err = process.communicate(timeout=timeout)
    assert process.returncode == 0, err
    return out, err


def leftovers(root):
    return [path.name for path in root.iterdir() if path.name.startswith(".")]


def libraries(root):
    return list(root.glob("*/hrgan_cpu.so"))


# Eight processes that have imported torch once: they start within milliseconds of each other.
MANY = """
import ctypes, os, sys
from pathlib import Path
from ops import build
from ops.building import cache
if sys.argv[2] == "no locks":
    cache._took = lambda handle: True
children = []
for number in range(8):
    child = os.fork()
    if child == 0:
        made = build.obtain("cpu", lambda line: print(line, flush=True), root=Path(sys.argv[1]))
        os._exit(0 if ctypes.CDLL(str(made.path)).hrgan_answer() == 42 else 3)
    children.append(child)
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
sys.exit(max(codes, key=abs))
"""


def test_many_processes_compile_once_and_all_load(source, root, compiler):
    (compiler / "seconds").write_text(str(HELD))
    out, _ = finished(python(MANY, source, "locks"))
    assert compilations(compiler) == 2  # two sources, once each
    assert len(libraries(root)) == 1
    assert leftovers(root) == []
    assert out.count("compiling operations for cpu") == 1
    assert out.count("hrgan: waiting for process ") == 7
    assert f" on {socket.gethostname()}, which compiles operations for cpu" in out


def test_where_locks_do_not_hold_one_of_many_builds_wins(source, root, compiler):
    (compiler / "seconds").write_text(str(HELD))
    finished(python(MANY, source, "no locks"))
    assert compilations(compiler) == 16
    assert len(libraries(root)) == 1
    assert leftovers(root) == []


ONE = """
import sys
from pathlib import Path
from ops import build
build.obtain("cpu", print, root=Path(sys.argv[1]))
"""


def test_a_killed_builder_stops_nobody_and_leaves_nothing(source, root, compiler):
    (compiler / "seconds").write_text("100")
    first = python(ONE, source)
    wait_until(lambda: compilations(compiler) == 2)
    pids = [int(pid) for pid in (compiler / "calls").read_text().split()]
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert [name for name in leftovers(root) if name.startswith(BUILDING)]
    wait_until(lambda: not any(map(is_running, pids)))
    (compiler / "seconds").write_text("0")
    start = time.monotonic()
    made = obtain(source)
    assert time.monotonic() - start < 20
    assert ctypes.CDLL(str(made.path)).hrgan_answer() == 42
    assert leftovers(root) == []


def wait_until(condition, seconds=60):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_waiter_goes_on_when_the_builder_takes_too_long(source, root, compiler, monkeypatch):
    (compiler / "seconds").write_text("100")
    first = python(ONE, source)
    wait_until(lambda: compilations(compiler) == 2)
    (compiler / "seconds").write_text("0")
    monkeypatch.setattr(caching, "WAIT_SECONDS", 0.3)
    told = []
    made = obtain(source, told)
    assert f"hrgan: waiting for process {first.pid} on" in told[0]
    assert made.path.is_file()
    first.terminate()  # its folder is its own: nobody has removed it
    assert [name for name in leftovers(root) if f"-{first.pid}-" in name]
    first.communicate()


def test_folders_of_builders_elsewhere_go_by_age(root):
    cache = Cache(root)
    cache.prepare()
    mine = socket.gethostname()
    dead = subprocess.Popen(["true"])
    dead.wait()
    live, young, old, left = (
        root / f"{BUILDING}{name}-ab"
        for name in (f"{mine}-{os.getpid()}", "other-1", "a-b-2", f"{mine}-{dead.pid}")
    )
    for folder in (live, young, old, left):
        folder.mkdir()
    past = time.time() - 2 * caching.FOREIGN_SECONDS
    os.utime(old, (past, past))
    assert sorted(cache.sweep()) == sorted([old, left])
    assert live.is_dir()
    assert young.is_dir()


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "manifest"])
def test_a_damaged_library_is_made_again(source, root, damage):
    path = obtain(source).path
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    if damage == "remove":
        path.unlink()
    elif damage == "manifest":
        path.with_name("manifest.json").write_text("{")
    else:
        path.write_bytes(data if damage == "flip" else data[:-1])
    assert build.status("cpu", source).path is None
    made = obtain(source)
    assert made.seconds > 0
    assert ctypes.CDLL(str(made.path)).hrgan_answer() == 42
    assert obtain(source).seconds == 0
    assert leftovers(root) == []


def test_force_makes_it_again(source, root, compiler):
    obtain(source)
    obtain(source, force=True)
    assert compilations(compiler) == 4
    assert len(libraries(root)) == 1


def test_how_much_is_compiled_is_told_while_it_lasts(source, root, compiler, monkeypatch):
    monkeypatch.setattr(building, "_SILENCE_SECONDS", 0.0)
    told = []
    obtain(source, told)
    steps = [re.fullmatch(r"hrgan: cpu: (\d) of 3 steps compiled, \d+ s", line) for line in told[1:]]
    assert [step and step[1] for step in steps] == ["1", "2"]  # the third is the last


def test_a_mistake_in_a_source_is_one_line_with_the_log_and_is_not_tried_by_all(source, root, compiler):
    (source / "cpu/count.cpp").write_text('#include "count.h"\nint f() { return kTwo; }\n')
    for _ in range(2):
        with pytest.raises(CannotBuild) as caught:
            obtain(source)
    cause = str(caught.value)
    assert "\n" not in cause
    assert f"{source}/cpu/count.cpp:2:18: error:" in cause
    assert "kTwo" in cause
    assert "kTwo" in Path(cause.split("(log: ")[1].rstrip(")")).read_text()
    tried = compilations(compiler)
    assert tried <= 2
    assert build.status("cpu", source).cause == cause
    with pytest.raises(CannotBuild):
        obtain(source, retry=True)
    assert compilations(compiler) > tried
    (source / "cpu/count.h").write_text("constexpr int kTwo = 2;\n")
    assert obtain(source).path.is_file()


def test_a_name_that_nothing_defines_is_found_when_linking_not_when_loading(source, root):
    (source / "cpu/count.cpp").write_text("int nowhere();\nint f() { return nowhere(); }\n")
    with pytest.raises(CannotBuild, match="undefined reference to"):
        obtain(source)


def test_sources_that_change_under_the_compiler_make_no_library(source, root, compiler):
    recipe = cpu_recipe(source)
    assert recipe.digest
    (source / "cpu/count.h").write_text("constexpr int kOne = 3;\n")
    with pytest.raises(CannotBuild, match="sources changed while they were compiled"):
        make(recipe, Cache(root), print)
    assert libraries(root) == []
    assert leftovers(root) == []


def test_a_cache_that_cannot_be_written_names_the_variable(source, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv(caching.ENVIRONMENT, str(tmp_path / "file/cache"))
    with pytest.raises(CannotBuild, match=r"cannot write .*: set HRGAN_OPS_CACHE to a folder"):
        obtain(source)


def test_where_the_cache_lies(monkeypatch, tmp_path):
    monkeypatch.setenv(caching.ENVIRONMENT, str(tmp_path / "a"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    monkeypatch.setenv("HOME", str(tmp_path / "c"))
    assert caching.default_root() == tmp_path / "a"
    monkeypatch.delenv(caching.ENVIRONMENT)
    assert caching.default_root() == tmp_path / "b/hrgan/ops"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert caching.default_root() == tmp_path / "c/.cache/hrgan/ops"


def test_without_a_compiler_what_was_compiled_elsewhere_is_taken(source, root, monkeypatch):
    path = obtain(source).path
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert obtain(source).path == path
    (source / "cpu/count.h").write_text("constexpr int kOne = 2;\n")
    with pytest.raises(CannotBuild, match=r"\$CXX=no-such-compiler is not on PATH: apt install g\+\+"):
        obtain(source)


POLICY = """
import torch
import ops
told = []
ops.use("auto", tell=told.append)
ops.use("auto", tell=told.append)
ops.bias_act(torch.zeros(1, 1))
(line,) = told
print(line)
try:
    ops.use("native", devices=("cuda",), tell=told.append)
except ops.NativeOpsMissing as error:
    print(error)
assert len(told) == 1
assert {s.implementation for s in ops.state()} == {"reference"}
"""


def test_without_a_compiler_auto_says_so_once_and_native_names_every_cause(tmp_path, root):
    out, _ = finished(python(POLICY, PATH=str(tmp_path), CXX="", CUDA_HOME=str(tmp_path)))
    warning, error = out.splitlines()
    cause = "cpu: no C++ compiler on PATH: apt install g++, or set CXX"
    assert warning == f"hrgan: warning: operations run as plain PyTorch, slower: {cause}"
    assert error == (
        f"ops.backend=native, but {cause}; cuda: needs the CPU's library; use ops.backend=auto or reference"
    )


def test_the_command_fails_for_what_was_asked_of_it_only(root, monkeypatch, capsys):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert build.main([]) == 0
    assert build.main(["--cpu"]) == 1
    assert "cpu: not compiled ($CXX=no-such-compiler is not on PATH" in capsys.readouterr().err


GOMP = """
import ctypes, sys
from pathlib import Path
import torch
from ops import build
made = build.obtain("cpu", print, root=Path(sys.argv[1]))
torch.ops.load_library(str(made.path))
torch.ones(1000, 1000).sum()
threads = ctypes.CDLL(str(made.path)).hrgan_threads()
print(threads, *sorted({line.split()[-1] for line in open("/proc/self/maps") if "omp" in line.split()[-1]}))
"""


def test_there_is_one_openmp_runtime_and_it_is_torchs(source, root):
    import torch

    out, _ = finished(python(GOMP, source))
    threads, *runtimes = out.splitlines()[-1].split()
    assert threads == "2"
    assert [Path(path).resolve() for path in runtimes] == [
        path.resolve() for path in Path(torch.__file__).parent.glob("lib/libgomp.so.1")
    ]
