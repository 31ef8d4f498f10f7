"""Several ranks of a Python module on this machine, for measurements: over loopback, or each in a network
namespace of its own behind a link of limited bandwidth."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Place:
    """Where a rank runs: what comes before its command, and the interface it talks through."""

    prefix: tuple[str, ...] = ()
    interface: str | None = None


def run_module(
    module: str, ranks: int, arguments: Sequence[str], places: Sequence[Place] = (), master: str = "127.0.0.1"
) -> None:
    """Runs `python -m module ARGUMENTS` as that many ranks, each with one thread; RuntimeError with their
    output if one fails."""
    port = _free_port()
    with tempfile.TemporaryDirectory() as folder:
        logs = [Path(folder, str(rank)) for rank in range(ranks)]
        started = []
        for rank, log in enumerate(logs):
            place = places[rank] if places else Place()
            command = [*place.prefix, sys.executable, "-m", module, *arguments]
            with log.open("wb") as file:
                started.append(
                    subprocess.Popen(
                        command,
                        cwd=ROOT,
                        env=_environment(rank, ranks, master, port, place),
                        stdout=file,
                        stderr=subprocess.STDOUT,
                    )
                )
        codes = _wait(started)
        if any(codes):
            texts = [f"--- rank {rank}\n{log.read_text()}" for rank, log in enumerate(logs)]
            raise RuntimeError(f"{module}: exit codes {codes}\n" + "\n".join(texts))


def _wait(started: list[subprocess.Popen[bytes]]) -> list[int]:
    try:
        codes = []
        for process in started:
            codes.append(process.wait())
            if codes[-1]:
                break  # the others would wait for it
        return codes
    finally:
        for process in started:
            process.kill()
            process.wait()


def _environment(rank: int, ranks: int, master: str, port: int, place: Place) -> dict[str, str]:
    own = {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "MASTER_ADDR": master,
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    interface = {} if place.interface is None else {"GLOO_SOCKET_IFNAME": place.interface}
    return {**os.environ, **own, **interface}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def two_hosts(megabits: int) -> Iterator[tuple[list[Place], str]]:
    """Two network namespaces joined by a link of `megabits` per second each way: places for two ranks, and
    the address of the first. Needs root, iproute2 and a kernel with tbf; CalledProcessError without."""
    names = [f"hrgan{os.getpid()}{side}" for side in "ab"]
    try:
        for name in names:
            _ip("netns", "add", name)
        _ip(
            "link",
            "add",
            "wire",
            "netns",
            names[0],
            "type",
            "veth",
            "peer",
            "name",
            "wire",
            "netns",
            names[1],
        )
        for number, name in enumerate(names, start=1):
            _ip("-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", "wire")
            for interface in ("lo", "wire"):
                _ip("-n", name, "link", "set", interface, "up")
            shape = (
                f"tbf rate {megabits}mbit burst {max(megabits * 1250 // 10, 32_000)} latency 100ms".split()
            )
            subprocess.run(["tc", "-n", name, "qdisc", "add", "dev", "wire", "root", *shape], check=True)
        places = [Place(("ip", "netns", "exec", name), "wire") for name in names]
        yield places, "10.77.0.1"
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, stderr=subprocess.DEVNULL)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
