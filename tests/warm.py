"""Python programs as processes of their own that need no seconds to import torch: forks of one that has.

For tests that start dozens; how people start the program is tested in tests/packaging, in tests/slurm and,
with launchers, in tests/distributed.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

# Libraries only: which of two checkouts is tested follows from the path of each program.
_IMPORTED = (
    "torch",
    "torch._dynamo",
    "torch._inductor.compile_fx",
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
    context = _context()
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


class Started:
    """A program that goes on beside the test, with what tests use of `subprocess.Popen`. stderr: its text."""

    def __init__(self, process: ForkServerProcess, stderr: Connection) -> None:
        self._process = process
        assert process.pid is not None
        self.pid = process.pid
        self.stderr = os.fdopen(os.dup(stderr.fileno()), errors="replace")
        atexit.register(self.kill)  # of a test that failed: multiprocessing would wait for it

    def __enter__(self) -> Started:
        return self

    def __exit__(self, *_: object) -> None:
        self.stderr.close()
        self.wait()

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self._process.exitcode is None:  # the number of one that has ended may be another program's by now
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code; TimeoutExpired as that of `subprocess.Popen`."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        return self._process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[None, str]:
        """Nothing and the rest of stderr, at its end; timeout: from the end of that on."""
        with self.stderr:
            rest = self.stderr.read()
        self.wait(timeout)
        return None, rest


def start_warm(program: Sequence[str], environment: Mapping[str, str], cwd: Path) -> Started:
    """Starts one program as `run_warm` does, in a session of its own."""
    context = _context()
    reader, writer = context.Pipe(duplex=False)
    with reader, writer:
        process = context.Process(
            target=_run_alone, args=(list(program), dict(environment), str(cwd), writer)
        )
        process.start()
        return Started(process, reader)


def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_IMPORTED))
    return context


def _read(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def _run_alone(program: list[str], environment: dict[str, str], cwd: str, stderr: Connection) -> None:
    """In the fork."""
    os.setsid()
    with stderr:
        os.dup2(stderr.fileno(), 2)
    _run_here(program, environment, cwd)


def _run(program: list[str], environment: dict[str, str], cwd: str, out: str, err: str) -> None:
    """In the fork."""
    for number, path in ((1, out), (2, err)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    _run_here(program, environment, cwd)


def _run_here(program: list[str], environment: dict[str, str], cwd: str) -> None:
    """Becomes the program."""
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
        if ending.code is None or isinstance(ending.code, int):
            return ending.code or 0
        print(ending.code, file=sys.stderr)
        return 1
    return 0
