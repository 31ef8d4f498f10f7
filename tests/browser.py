"""A headless Chromium, driven by chromedriver over the W3C WebDriver protocol (w3.org/TR/webdriver2)."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BINARIES = {"chromium": "chromium", "chromedriver": "chromium-driver"}
"""Programs, and the Debian packages that have them."""

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-unsafe-swiftshader",  # WebGL in software, for the projector
)

# A page of TensorBoard is a tree of shadow roots: this walks all of them.
_WALK = """
function* walk(node) {
  for (const child of node.querySelectorAll('*')) {
    yield child;
    if (child.shadowRoot) yield* walk(child.shadowRoot);
    if (child.tagName === 'IFRAME' && child.contentDocument) yield* walk(child.contentDocument);
  }
}
const shown = e => e.getClientRects().length > 0;
const all = selector => [...walk(document)].filter(e => e.matches(selector) && shown(e));
const own = e => [...e.childNodes].filter(n => n.nodeType === 3).map(n => n.data.trim()).join(' ');
const words = () => [...walk(document)].filter(e => shown(e) && !e.matches('script, style'))
    .map(own).filter(t => t).join('\\n');
"""


def missing() -> list[str]:
    """Debian packages that must be installed."""
    return [package for program, package in BINARIES.items() if shutil.which(program) is None]


class Browser:
    """One window. Scripts see `all(selector)` and `words()`, which look into shadow roots and frames."""

    def __init__(self, driver: str, profile: Path) -> None:
        self._driver = driver
        options = {
            "binary": shutil.which("chromium"),
            "args": [*_FLAGS, f"--user-data-dir={profile}", "--window-size=1600,1200"],
        }
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        session = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"/session/{session['sessionId']}"

    def open(self, address: str) -> None:
        self._call("POST", f"{self._session}/url", {"url": address})

    def run(self, script: str, *arguments: Any) -> Any:
        body = {"script": _WALK + script, "args": list(arguments)}
        return self._call("POST", f"{self._session}/execute/sync", body)

    def wait(self, script: str, *arguments: Any, seconds: float = 30) -> Any:
        """What `script` returns, as soon as that is something; AssertionError if it never is."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = self.run(script, *arguments)
            if found:
                return found
            time.sleep(0.1)
        raise AssertionError(f"never came: {script} {arguments}\n--- the page says:\n{self.words()}")

    def words(self) -> str:
        """Everything a reader sees written."""
        return self.run("return words()")

    def click(self, selector: str, text: str) -> None:
        """Clicks the first thing of `selector` that says `text`."""
        found = "const found = all(arguments[0]).find(e => e.textContent.trim().startsWith(arguments[1]));"
        self.wait(f"{found} if (found) found.click(); return !!found", selector, text)

    def complaints(self) -> list[str]:
        """What the page's console has of errors."""
        entries = self._call("POST", f"{self._session}/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]

    def picture(self, path: Path) -> bytes:
        """A PNG of the window, kept at `path`."""
        data = base64.b64decode(self._call("GET", f"{self._session}/screenshot"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return data

    def close(self) -> None:
        self._call("DELETE", self._session)

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._driver}{path}", data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(json.load(error)["value"]["message"]) from None


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser with an empty profile; ended with all its processes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["chromedriver", f"--port={port}"]
    with (
        tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile,
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as driver,
    ):
        try:
            _wait_for(port, driver)
            browser = Browser(f"http://127.0.0.1:{port}", Path(profile))
            try:
                yield browser
            finally:
                browser.close()
        finally:
            driver.terminate()


def _wait_for(port: int, driver: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        assert driver.poll() is None, f"chromedriver ended with {driver.returncode}"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("chromedriver does not answer")
