"""Commands as forks of one process that has imported what they need, so that hundreds take minutes.

Run by path under the interpreter of the checkout whose commands are meant; reads a task a line, as JSON, and
answers each with a line.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

_POLL_SECONDS = 0.01
_IMPORTED = (
    "launch.main",
    "launch.assembly.training",
    "launch.assembly.generating",
    "pipeline.data.preparing.prepare",
    "pipeline.data.shards.export",
)


@dataclass(frozen=True)
class Ended:
    """How a command ended. code: negative if by a signal, None if it took too long and had to be ended. text:
    all that it printed."""

    code: int | None
    text: str


class Commands:
    """Runs `hrgan` commands of the checkout `code`, with `library` preloaded."""

    def __init__(self, code: Path, library: Path) -> None:
        self._code, self._library = code, library

    def __enter__(self) -> Commands:
        environment = {
            **os.environ,
            "PYTHONPATH": str(self._code),
            "LD_PRELOAD": str(self._library),
            "OMP_NUM_THREADS": "1",
        }
        self._server = subprocess.Popen(
            [sys.executable, Path(__file__).resolve()],
            cwd=self._code,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait()
        assert self._server.stdout is not None
        self._server.stdout.close()

    def run(
        self, arguments: Sequence[str], out: Path, environment: Mapping[str, str], seconds: float
    ) -> Ended:
        """Runs `hrgan ARGUMENTS` to its end, or for `seconds`. out: a file for what it prints."""
        task = {"arguments": arguments, "out": str(out), "environment": environment, "seconds": seconds}
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        print(json.dumps(task), file=self._server.stdin, flush=True)
        code = json.loads(self._server.stdout.readline())
        return Ended(code, out.read_text(errors="replace"))


def _serve() -> int:
    for name in _IMPORTED:
        __import__(name)
    gc.freeze()
    for line in sys.stdin:
        task = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(task)
        code = _wait(child, task["seconds"])
        with suppress(BrokenPipeError):  # nobody is left who asked
            print(json.dumps(code), flush=True)
    return 0


def _wait(child: int, seconds: float) -> int | None:
    """The exit code; whatever the command has started and left is ended with it."""
    end, code = time.monotonic() + seconds, None
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            break
        time.sleep(_POLL_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if code is None:
        os.waitpid(child, 0)
    return code


def _become(task: dict[str, Any]) -> NoReturn:
    """In the fork: the command, to its end. What an interpreter does last of all, freeing every module, takes
    longer than all that was before."""
    code = 1
    try:
        code = _command(task)
    except BaseException:
        traceback.print_exc()
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _command(task: dict[str, Any]) -> int:
    os.setsid()
    for number, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, task["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND),
    ):
        file = os.open(path, flags, 0o600)
        os.dup2(file, number)
        os.close(file)
    os.dup2(1, 2)
    sys.stdin = os.fdopen(0, closefd=False)  # the old one holds tasks
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.update(task["environment"])
    sys.argv = ["hrgan", *task["arguments"]]
    ctypes.CDLL(None).inject_begin()
    from launch.main import main

    return main()


if __name__ == "__main__":
    del sys.path[0]  # this folder
    sys.path.insert(0, os.getcwd())
    sys.exit(_serve())
