"""`hrgan board`: TensorBoard on the runs of a folder."""

from __future__ import annotations

import errno
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import IO, Annotated

import typer

from launch.cluster.processes import end_with_parent
from pipeline.engines.signals import handling
from pipeline.errors import RunFailed, UserError
from pipeline.words import note

PORT = 6006
"""TensorBoard's own."""

_LOCAL = ("localhost", "127.0.0.1", "::1")
_START_SECONDS, _END_SECONDS, _POLL_SECONDS = 120.0, 5.0, 0.1
# By itself TensorBoard keeps 10 pictures and 1,000 points a curve; runs have more snapshots and ticks.
_KEPT = "images=200,scalars=10000"


def board(
    runs: Annotated[Path, typer.Argument(metavar="RUNS", help="A run, or a folder of runs.")] = Path("runs"),
    port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65535, help=f"Port to listen on; without it {PORT}, or a free one if that is in use."
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; the default is reached from this machine only.")
    ] = "localhost",
) -> int:
    """Show runs in TensorBoard: curves, samples, settings. Ctrl-C ends it.

    \b
    Examples:
      hrgan board runs
      hrgan board out/quickstart/run --port 7000
    """
    if not runs.is_dir():
        raise UserError(f"{runs}: no such folder; allowed: a run, or a folder of runs")
    if importlib.util.find_spec("tensorboard") is None:
        raise UserError(f"tensorboard: not installed beside {sys.executable}; pip install tensorboard")
    chosen = choose_port(host, port)
    if host not in _LOCAL:
        note(
            f"--host {host}: everybody who can reach this machine can read what lies in {runs}, "
            "without a password; for yourself alone leave --host out and use ssh -L"
        )
    from launch.cluster.run_states import find_runs

    if next(find_runs(runs), None) is None:
        note(f"{runs}: holds no runs yet; they appear here as they begin")
    with tempfile.TemporaryFile("w+") as said, _running(_command(runs, host, chosen), said) as server:
        _wait_until_it_answers(server, host, chosen, said)
        typer.echo(f"http://{_shown(host)}:{chosen}/   ({runs}; Ctrl-C ends it)")
        code = server.wait()
        raise RunFailed(f"TensorBoard ended by itself ({code}): {_last_line(said)}")


def choose_port(host: str, wanted: int | None) -> int:
    """The wanted port, or UserError if it is taken; the default or, if that is taken, any free one."""
    if wanted is not None:
        if not _is_free(host, wanted):
            raise UserError(
                f"--port {wanted}: in use on {host}; allowed: another port, or none, and a free one is taken"
            )
        return wanted
    if _is_free(host, PORT):
        return PORT
    with _listening(host, 0) as probe:
        return int(probe.getsockname()[1])


def _is_free(host: str, port: int) -> bool:
    try:
        with _listening(host, port):
            return True
    except PermissionError as error:
        raise UserError(f"--port {port}: only root may listen below 1024; allowed: 1024 to 65535") from error
    except socket.gaierror as error:
        raise UserError(f"--host {host}: no such host ({error.strerror})") from error
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise UserError(f"--host {host}: not an address of this machine") from error
        return False


def _listening(host: str, port: int) -> socket.socket:
    kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    probe = socket.socket(kind, socket.SOCK_STREAM)
    try:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
        probe.listen()
    except OSError:
        probe.close()
        raise
    return probe


def _command(runs: Path, host: str, port: int) -> list[str]:
    return [
        *(sys.executable, "-m", "tensorboard.main"),
        f"--logdir={runs.resolve()}",
        f"--host={host}",
        f"--port={port}",
        f"--samples_per_plugin={_KEPT}",
        f"--window_title=hrgan: {runs.resolve().name}",
    ]


@contextmanager
def _running(command: Sequence[str], said: IO[str]) -> Iterator[subprocess.Popen[str]]:
    """The server, in a group of its own, ended with all that it has started however this ends."""
    server = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=said,
        stderr=said,
        text=True,
        start_new_session=True,
        preexec_fn=end_with_parent,
    )
    try:
        with handling((signal.SIGTERM,), _interrupt):
            yield server
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    finally:
        _end(server)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _end(server: subprocess.Popen[str]) -> None:
    server.terminate()
    with suppress(subprocess.TimeoutExpired):
        server.wait(_END_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)  # the process that reads files for it
    server.wait()


def _wait_until_it_answers(server: subprocess.Popen[str], host: str, port: int, said: IO[str]) -> None:
    end = time.monotonic() + _START_SECONDS
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    while time.monotonic() < end:
        if server.poll() is not None:
            raise RunFailed(f"TensorBoard did not start: {_last_line(said)}")
        try:
            # Asked once for its tabs it looks which have data, so that a browser finds all of them.
            with urllib.request.urlopen(
                f"http://{_bracketed(address)}:{port}/data/plugins_listing", timeout=9
            ):
                return
        except OSError:
            time.sleep(_POLL_SECONDS)
    raise RunFailed(f"TensorBoard did not answer at {host}:{port} within {_START_SECONDS:.0f} s")


def _last_line(said: IO[str]) -> str:
    said.seek(0)
    lines = [line.strip() for line in said if line.strip()]
    return lines[-1] if lines else "it said nothing"


def _shown(host: str) -> str:
    if host in ("0.0.0.0", "::"):
        return socket.gethostname()
    return _bracketed(host)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
