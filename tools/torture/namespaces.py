"""Two hosts on one machine: network namespaces that a switch joins, whose cables can be cut and made slow.

Needs root and `ip` (iproute2); `tc` with the kernel's token bucket for a rate. Namespaces share the disk and
the processor: what they separate is the network, which the cost of communication and a cut link are about.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial

from pipeline.errors import UserError

_CLONE_NEWUTS = 0x04000000
_PORT = 29500  # nothing else listens in a namespace of its own


def lacking() -> str | None:
    """Returns why hosts cannot be made here; None if they can."""
    if os.geteuid() != 0:
        return "root is needed for network namespaces"
    if shutil.which("ip") is None:
        return "`ip` is missing: install iproute2"
    probe = f"hrgan-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"`ip netns add` fails: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", probe], check=True)
    return None


class TwoHosts:
    """Hosts 0 and 1 with addresses 10.77.0.1 and 10.77.0.2, which exist inside the context."""

    def __init__(self) -> None:
        self.names = tuple(f"hrgan-{os.getpid()}-{number}" for number in range(2))
        self.switch = f"hrgan-{os.getpid()}-switch"

    def __enter__(self) -> TwoHosts:
        reason = lacking()
        if reason is not None:
            raise UserError(f"two hosts on one machine: {reason}")
        try:
            self._make()
        except subprocess.CalledProcessError:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Takes both hosts away; processes that still run there keep theirs until they end."""
        for name in (*self.names, self.switch):
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL, check=False)

    def cut(self) -> None:
        """Cuts the cable behind the switch: what is sent is lost, and neither host's card notices."""
        _run("ip", "-n", self.switch, "link", "set", "port1", "nomaster")

    def mend(self) -> None:
        """Mends the cable."""
        _run("ip", "-n", self.switch, "link", "set", "port1", "master", "bridge")

    def limit(self, megabits: int) -> None:
        """Limits the cable to that many megabits per second in each direction from now on."""
        for name in self.names:
            # What may go out at once after a pause: a gradient of a small network must not fit, and what a
            # millisecond carries must, for the kernel's clock wakes no sooner.
            burst = f"{max(32, megabits // 8)}kb"
            rate = ("rate", f"{megabits}mbit", "burst", burst, "latency", "200ms")
            _run("tc", "-n", name, "qdisc", "replace", "dev", "cable", "root", "tbf", *rate)

    def start(
        self,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        stderr: int | None = None,
        stdout: int | None = None,
    ) -> list[subprocess.Popen[str]]:
        """Starts one Python process per host, `python ARGUMENTS`, as ranks 0 and 1 of a group of two. The
        hosts are called host0 and host1."""
        group = {"WORLD_SIZE": "2", "MASTER_ADDR": "10.77.0.1", "MASTER_PORT": str(_PORT), "LOCAL_RANK": "0"}
        # Gloo would ask for the address of the host's name, which is the same here for both.
        group["GLOO_SOCKET_IFNAME"] = "cable"
        return [
            subprocess.Popen(
                ["ip", "netns", "exec", name, sys.executable, *arguments],
                env={**(environment or os.environ), **group, "RANK": str(rank)},
                stdout=stdout,
                stderr=stderr,
                text=True,
                preexec_fn=partial(_be_called, f"host{rank}"),
            )
            for rank, name in enumerate(self.names)
        ]

    def _make(self) -> None:
        _run("ip", "netns", "add", self.switch)
        _run("ip", "-n", self.switch, "link", "add", "bridge", "type", "bridge")
        _run("ip", "-n", self.switch, "link", "set", "bridge", "up")
        for number, name in enumerate(self.names):
            port = f"port{number}"
            _run("ip", "netns", "add", name)
            peer = ("peer", "name", port, "netns", self.switch)
            _run("ip", "link", "add", "cable", "netns", name, "type", "veth", *peer)
            _run("ip", "-n", self.switch, "link", "set", port, "master", "bridge", "up")
            _run("ip", "-n", name, "address", "add", f"10.77.0.{number + 1}/24", "dev", "cable")
            _run("ip", "-n", name, "link", "set", "cable", "up")
            _run("ip", "-n", name, "link", "set", "lo", "up")


def _be_called(name: str) -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWUTS) == 0:  # or else it would rename this machine
        socket.sethostname(name)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
