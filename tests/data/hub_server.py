"""A server that plays Hugging Face's hub for the real client: data sets of files, private and broken ones."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """files: content by "OWNER/NAME/PATH". private: names that need a token. gated: those whose terms must
    be accepted. corrupt: paths that come with another content. dies: paths at which the connection breaks."""

    files: dict[str, bytes] = field(default_factory=dict)
    private: dict[str, str] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    corrupt: set[str] = field(default_factory=set)
    dies: set[str] = field(default_factory=set)
    gets: list[str] = field(default_factory=list)
    address: str = ""

    def siblings(self, name: str) -> list[dict[str, object]]:
        found = []
        for path, data in self.files.items():
            if path.startswith(f"{name}/"):
                git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
                one: dict[str, object] = {
                    "rfilename": path.removeprefix(f"{name}/"),
                    "size": len(data),
                    "blobId": git,
                }
                if _is_large(path):
                    one["lfs"] = {"sha256": _sha256(data), "size": len(data), "pointerSize": 130}
                found.append(one)
        return found


def _is_large(path: str) -> bool:
    return not path.endswith((".md", ".json"))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._file(False)

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.gets.append(path)
            if path.startswith("/api/datasets/"):
                self._about(path.removeprefix("/api/datasets/"))
            else:
                self._file(True)

        def _about(self, rest: str) -> None:
            name, _, revision = rest.partition("/revision/")
            if not self._allowed(name):
                return
            if revision in ("", "main", COMMIT, "refs/convert/parquet"):
                body = json.dumps({"id": name, "sha": COMMIT, "siblings": hub.siblings(name)}).encode()
                self._send(200, {"Content-Type": "application/json"}, body)
            else:
                self._error(404, "RevisionNotFound")

        def _allowed(self, name: str) -> bool:
            if name in hub.gated:
                self._error(403, "GatedRepo")
                return False
            there = any(path.startswith(f"{name}/") for path in hub.files)
            token = hub.private.get(name)
            if there and (token is None or self.headers["Authorization"] == f"Bearer {token}"):
                return True
            self._error(401, "RepoNotFound")
            return False

        def _file(self, with_body: bool) -> None:
            path = unquote(urlsplit(self.path).path).removeprefix("/datasets/")
            name, _, rest = path.partition("/resolve/")
            whole = f"{name}/{rest.partition('/')[2]}"
            if not self._allowed(name):
                return
            data = hub.files[whole]
            headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha1(data).hexdigest()}"'}
            if _is_large(whole):
                headers |= {"X-Linked-ETag": f'"{_sha256(data)}"', "X-Linked-Size": str(len(data))}
            if whole in hub.corrupt:
                data = bytes(len(data))
            self._send(200, headers, data, with_body, len(data) // 2 if whole in hub.dies else None)

        def _error(self, status: int, code: str) -> None:
            self._send(status, {"X-Error-Code": code, "X-Error-Message": code}, b"{}")

        def _send(
            self,
            status: int,
            headers: dict[str, str],
            body: bytes,
            with_body: bool = True,
            cut: int | None = None,
        ) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if with_body:
                self.wfile.write(body[:cut])
            self.close_connection = cut is not None

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@contextmanager
def running() -> Iterator[Hub]:
    hub = Hub()
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub)) as server:
        hub.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield hub
        server.shutdown()
        thread.join()
