"""Python programs as processes of their own that need no seconds to import torch: forks of one that has.

For tests that start dozens; how people start the program is tested with `start_hrgan` and in tests/slurm.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

# Libraries only: which of two checkouts is tested follows from the path of each program.
_IMPORTED = (
    "torch",
    "torch._dynamo",
    "torchvision.io",
    "torch.utils.tensorboard",
    "pydantic",
    "yaml",
    "typer",
)


def run_warm(
    programs: Sequence[Sequence[str]], environments: Sequence[Mapping[str, str]], cwd: Path, timeout: float
) -> list[subprocess.CompletedProcess]:
    """Runs at once, for each program, `python PROGRAM...` (a script, or -m and a module, and arguments).

    Gives what each wrote and its exit code, as `subprocess.run` would; TimeoutExpired as there.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_IMPORTED))
    end = time.monotonic() + timeout
    with tempfile.TemporaryDirectory() as folder:
        texts = [(Path(folder, f"{n}.out"), Path(folder, f"{n}.err")) for n in range(len(programs))]
        started = [
            context.Process(target=_run, args=(list(program), dict(environment), str(cwd), *map(str, paths)))
            for program, environment, paths in zip(programs, environments, texts, strict=True)
        ]
        for process in started:
            process.start()
        try:
            for program, process in zip(programs, started, strict=True):
                process.join(max(0.0, end - time.monotonic()))
                if process.is_alive():
                    raise subprocess.TimeoutExpired(list(program), timeout, "\n".join(map(_read, texts[0])))
        finally:
            for process in started:
                process.kill()
                process.join()
        return [
            subprocess.CompletedProcess(list(program), process.exitcode, *map(_read, paths))
            for program, process, paths in zip(programs, started, texts, strict=True)
        ]


def _read(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def _run(program: list[str], environment: dict[str, str], cwd: str, out: str, err: str) -> None:
    """In the fork: becomes the program."""
    for number, path in ((1, out), (2, err)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    code = 1
    try:
        code = _become(program)
    except BaseException:
        traceback.print_exc()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    raise SystemExit(code)


def _become(program: list[str]) -> int:
    try:
        if program[0] == "-m":
            sys.argv = program[1:]
            sys.path.insert(0, os.getcwd())
            runpy.run_module(program[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = program
            sys.path.insert(0, str(Path(program[0]).parent))
            runpy.run_path(program[0], run_name="__main__")
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else 0 if ending.code is None else 1
    return 0
