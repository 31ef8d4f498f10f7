"""`hrgan board`: starts, answers, ends; what it refuses."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from launch.cluster.processes import free_port
from launch.commands import board
from launch.main import main
from tests.small_run import ROOT, environment


@pytest.fixture
def taken() -> Iterator[int]:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_answers_and_a_signal_ends_it_with_all_that_it_started(tmp_path: Path, number: int) -> None:
    command = [sys.executable, "-m", "launch.main", "board", str(tmp_path), "--port", str(free_port())]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdout=pipe, stderr=pipe, text=True
    ) as process:
        assert (
            process.stderr.readline()
            == f"hrgan: {tmp_path}: holds no runs yet; they appear here as they begin\n"
        )
        address = process.stdout.readline().split()[0]
        with urllib.request.urlopen(address, timeout=30) as page:
            assert b"TensorBoard" in page.read()
        children = psutil.Process(process.pid).children(recursive=True)
        assert children
        process.send_signal(number)
        assert process.wait(30) == 0
    assert not [child for child in children if child.is_running() and child.status() != "zombie"]


def test_the_default_port_gives_way_to_a_free_one(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "PORT", taken)
    chosen = board.choose_port("localhost", None)
    assert chosen != taken
    with closing(socket.create_server(("127.0.0.1", chosen))):
        pass
    monkeypatch.setattr(board, "PORT", chosen)
    assert board.choose_port("localhost", None) == chosen


REFUSED = {
    "no such folder": (["nowhere"], "nowhere: no such folder; allowed: a run, or a folder of runs"),
    "a port in use": ([".", "--port", "TAKEN"], "--port TAKEN: in use on localhost; allowed: another"),
    "no such port": ([".", "--port", "70000"], "--port"),
    "another machine": ([".", "--host", "192.0.2.1"], "--host 192.0.2.1: not an address of this machine"),
    "no address": ([".", "--host", "no.such.invalid"], "--host no.such.invalid: no such host"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_input_is_one_line(name, taken, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    words, message = REFUSED[name]
    assert main(["board", *(word.replace("TAKEN", str(taken)) for word in words)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert message.replace("TAKEN", str(taken)) in lines[0]


def test_other_hosts_are_let_in_with_a_warning_and_a_server_that_ends_is_said(tmp_path, monkeypatch, capsys):
    program = "import sys; print('first'); sys.exit('out of luck')"
    monkeypatch.setattr(board, "_command", lambda *_: [sys.executable, "-c", program])
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.yaml").touch()
    assert main(["board", str(tmp_path), "--host", "0.0.0.0"]) == 1
    warning, error = capsys.readouterr().err.splitlines()
    assert "everybody who can reach this machine can read what lies in" in warning
    assert error.endswith("TensorBoard did not start: out of luck")


def test_a_launcher_that_is_killed_takes_its_server_along(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "launch.main", "board", str(tmp_path), "--port", str(free_port())]
    with subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        (server,) = psutil.Process(process.pid).children()
        os.kill(process.pid, signal.SIGKILL)
    psutil.wait_procs([server], timeout=20)
    assert not server.is_running()
