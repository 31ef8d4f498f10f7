"""Evaluations of a small run that are killed at one call on files after another: ROOT EVERY.

Of all calls that change files below ROOT, at every EVERY-th an evaluation is killed just before it, and the
same evaluation is done again. Says how many there were, and what then differs from an undisturbed one.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import safetensors.torch

from pipeline.evaluation.features.weights import ExtractorChoice
from pipeline.evaluation.follow import evaluate_target
from pipeline.evaluation.job import EvaluationJob
from pipeline.evaluation.settings import Settings
from pipeline.storage import tensors
from tests.evaluation.worlds import SmoothSampler, write_shards, write_toy_snapshot

_CHANGES = ("os.rename", "os.remove", "os.link", "os.mkdir", "os.rmdir", "os.chmod", "os.utime")
_WRITES = os.O_WRONLY | os.O_RDWR


def make(root: Path) -> None:
    for folder in ("data", "run"):
        shutil.rmtree(root / folder, ignore_errors=True)
    write_shards(root / "data", 12)
    for images_seen in (0, 8):
        write_toy_snapshot(root / "run", images_seen)


def evaluate(root: Path) -> None:
    extractor = ExtractorChoice("tests.evaluation.worlds:CoarseExtractor")
    settings = Settings(("fid", "pr", "swd", "msssim"), count=20, extractor=extractor)
    job = EvaluationJob(root / "data", settings, lambda s: SmoothSampler(s.spec, 0.2), lambda _: None)
    evaluate_target(job, root / "run", "all", lambda _: None)


def killing(root: Path, at: int, count_into: Path | None = None) -> None:
    """From now on this process counts its changes below `root`, and is killed before number `at`."""
    seen = 0

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITES
        if not (writes or event in _CHANGES) or not str(arguments[0]).startswith(str(root)):
            return
        seen += 1
        if seen == at:
            os.kill(os.getpid(), signal.SIGKILL)
        if count_into is not None:
            os.pwrite(count, f"{seen:8d}".encode(), 0)

    count = os.open(count_into, os.O_WRONLY | os.O_CREAT) if count_into is not None else -1
    sys.addaudithook(look)


def in_library(path: Any) -> None:
    """As safetensors does: a file aside that has no owner's name."""
    Path(path).with_name(".tmpAbCdEf").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)


def child(root: Path, prepare: Any = None) -> int:
    """The signal that ended an evaluation in a process of its own, or 0."""
    pid = os.fork()
    if pid == 0:
        try:
            if prepare is not None:
                prepare()
            evaluate(root)
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitpid(pid, 0)[1]
    assert status in (0, signal.SIGKILL), status
    return status


def listing(root: Path) -> dict[str, bytes]:
    """All files, with their contents where these do not tell the time."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = re.sub(r"tfevents\.\d+", "tfevents", str(path.relative_to(root)))
        found[name] = path.read_bytes() if path.suffix in (".json", ".safetensors") else b""
    return found


def main(root: Path, every: int) -> None:
    make(root / "world")
    assert child(root / "world", lambda: killing(root / "world", -1, root / "count")) == 0
    expected, calls = listing(root / "world"), int((root / "count").read_text())

    def check(what: str, prepare: Any) -> None:
        make(root / "world")
        assert child(root / "world", prepare) == signal.SIGKILL
        left = set(listing(root / "world")) - set(expected)
        assert child(root / "world") == 0
        found = listing(root / "world")
        wrong = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
        print(f"{what}: left {len(left)}, wrong {wrong}", flush=True)

    for at in range(1, calls + 1, every):
        check(f"call {at} of {calls}", lambda at=at: killing(root / "world", at))  # type: ignore[misc]
    check("safetensors", lambda: setattr(tensors, "save_file", lambda _, path, **__: in_library(path)))


if __name__ == "__main__":
    assert safetensors.torch.save_file is tensors.save_file
    main(Path(sys.argv[1]), int(sys.argv[2]))
