"""Does a run survive a store that fails? Trains it from disk and from a web server that drops, stalls, cuts
and corrupts what it gives, and compares.

python -m tools.torture.faulty_store --out out/store CONFIG data.path=SHARDS length.images=2k ...
"""

from __future__ import annotations

import argparse
import random
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

from pipeline.config.load import load_config
from pipeline.words import table
from tools.compare_runs import differences
from tools.torture.kill_run import train_command

Fault = Literal[
    "drop", "stall", "cut", "corrupt", "401", "403", "404", "429", "500", "503", "redirect", "no-range"
]
Choose = Callable[[str, str, int], Fault | None]
"""The fault of a request: its method, the name of its file, and how often that was asked for before."""

PASSING: tuple[Fault, ...] = ("drop", "stall", "cut", "corrupt", "429", "500", "503", "redirect", "no-range")
"""Those after which asking again helps."""

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_STALL_SECONDS = 30.0  # longer than any client here is patient


class FaultyStore:
    """A web server of the files in `root`, which exists inside the context. What `choose` says goes wrong.

    requests, faults: how many there were, by (method, name) and by kind. served: bytes given.
    """

    def __init__(self, root: Path, choose: Choose = lambda method, name, times: None) -> None:
        self.root, self.choose = root, choose
        self.requests: Counter[tuple[str, str]] = Counter()
        self.faults: Counter[str] = Counter()
        self.served = 0
        self.lock, self.ended = threading.Lock(), threading.Event()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """The URL of `root`."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def fault_of(self, method: str, name: str) -> Fault | None:
        """Counts a request and says what goes wrong with it."""
        with self.lock:
            fault = self.choose(method, name, self.requests[method, name])
            self.requests[method, name] += 1
            if fault is not None:
                self.faults[fault] += 1
            return fault

    def __enter__(self) -> FaultyStore:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are what this is about."""


def _handler(store: FaultyStore) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer("GET")

        def do_HEAD(self) -> None:
            self._answer("HEAD")

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def _answer(self, method: str) -> None:
            name = unquote(self.path).lstrip("/")
            redirected = name.startswith("moved/")
            name = name.removeprefix("moved/")
            fault = None if redirected else store.fault_of(method, name)
            path = store.root / name
            if fault == "redirect":
                self._say(302, Location=f"{store.url}/moved/{name}")
            elif fault is not None and fault.isdigit():
                self._say(int(fault), **({"Retry-After": "1"} if fault == "429" else {}))
            elif not path.is_file():
                self._say(404)
            else:
                self._give(path.read_bytes(), method, fault)

        def _say(self, status: int, **headers: str) -> None:
            self.send_response(status)
            for key, value in {**headers, "Content-Length": "0"}.items():
                self.send_header(key.replace("_", "-"), value)
            self.end_headers()

        def _give(self, data: bytes, method: str, fault: Fault | None) -> None:
            asked = None if fault == "no-range" else _RANGE.fullmatch(self.headers.get("Range", ""))
            start = int(asked[1]) if asked else 0
            body = data[start : int(asked[2]) + 1 if asked and asked[2] else None]
            if asked and start >= len(data):
                self._say(416)
                return
            if fault == "cut":  # a server that believes its file to be shorter
                body = body[: len(body) // 2]
            if fault == "corrupt" and body:
                at = store.faults.total() * 7919 % len(body)  # each time another byte
                body = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
            self.send_response(206 if asked else 200)
            if asked:
                self.send_header("Content-Range", f"bytes {start}-{start + len(body) - 1}/{len(data)}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if method == "GET":
                self._send(body, fault)

        def _send(self, body: bytes, fault: Fault | None) -> None:
            half = body[: len(body) // 2]
            sent = half if fault in ("drop", "stall") else body
            try:
                self.wfile.write(sent)
                self.wfile.flush()
            except OSError:  # the client has gone
                self.close_connection = True
                return
            with store.lock:
                store.served += len(sent)
            if fault == "stall":
                store.ended.wait(_STALL_SECONDS)
            if fault in ("drop", "stall"):
                self.close_connection = True

    return Handler


def at_random(seed: int, share: float) -> Choose:
    """Faults that pass, at so large a share of the requests, each time the same for a seed. Bytes change in
    shards alone: of the index nobody knows what it should be."""
    chance = random.Random(seed)
    others = [fault for fault in PASSING if fault not in ("cut", "corrupt")]

    def choose(method: str, name: str, times: int) -> Fault | None:
        faults = PASSING if method == "GET" and name.endswith(".tar") else others
        return chance.choice(faults) if chance.random() < share else None

    return choose


def train(arguments: Sequence[str], run: Path, *more: str, seconds: float = 600) -> tuple[float, list[str]]:
    """Trains to the end: the seconds that it took, and the lines that it said. Raises CalledProcessError if
    it fails."""
    start = time.monotonic()
    command = train_command([*arguments, *more], run)
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=seconds, check=False)
    (run.parent / f"{run.name}.log").write_text(done.stderr)
    done.check_returncode()
    return time.monotonic() - start, done.stderr.splitlines()


def compare(arguments: Sequence[str], out: Path, choose: Choose) -> list[str]:
    """Trains from disk and from a store with these faults, with an empty cache, and prints what happened.
    Returns the differences of the runs; none if they are equal to the bit."""
    shards = Path(str(load_config(arguments[0], arguments[1:]).data.path)).resolve()
    seconds, _ = train(arguments, out / "from-disk")
    print(f"from disk: {seconds:.0f} s", flush=True)
    with FaultyStore(shards.parent, choose) as store:
        reached = (f"data.path={store.url}/{shards.name}", f"data.cache={out / 'cache'}")
        limits = ("data.store_patience_seconds=120", "data.store_silence_seconds=2")
        seconds, lines = train(arguments, out / "from-store", *reached, *limits)
    print(f"from the store: {seconds:.0f} s; {store.served / 1e6:.1f} MB served in these requests:")
    asked = {
        method: sum(n for (m, _), n in store.requests.items() if m == method) for method in ("GET", "HEAD")
    }
    rows = [*asked.items(), *sorted(store.faults.items())]
    print(table([(kind, str(count)) for kind, count in rows], ("request or fault", "times")))
    print("\n".join(line for line in lines if "asked stores again" in line or "data wait" in line))
    return differences(out / "from-disk", out / "from-store")


def main() -> int:
    """Exit code 1 if the runs differ in any bit, or if nothing went wrong on the way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=0.4, help="of the requests that something happens to")
    parser.add_argument("--seed", type=int, default=0, help="of what happens")
    parser.add_argument("--out", type=Path, required=True, help="a folder for the two runs; emptied first")
    parser.add_argument("arguments", nargs="+", help="what `hrgan train` gets, with data.path on disk")
    options = parser.parse_args()
    shutil.rmtree(options.out, ignore_errors=True)
    options.out.mkdir(parents=True)
    lines = compare(options.arguments, options.out.resolve(), at_random(options.seed, options.share))
    print("\n".join(lines) if lines else "identical to the bit")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
