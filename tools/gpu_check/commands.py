"""Runs the commands of users on this machine: the doctor, the tests, and a run from pictures to figures."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tools.gpu_check.step import Conditions, Figure, LeftOut, figure

_ROOT = Path(__file__).parents[2]
_MODULES = ("pydantic", "yaml", "typer", "safetensors", "webdataset", "accelerate",
            "torchvision", "tensorboard", "PIL", "numpy", "tqdm", "launch.main", "launch.assembly.training",
            "launch.assembly.generating", "launch.assembly.judging", "tools.bench.families")  # fmt: skip
_POLL = 0.05


def doctor(conditions: Conditions) -> Iterator[Figure]:
    """Reports the packages that the product imports, and what `hrgan doctor` finds wrong."""
    began = time.perf_counter()
    for name in _MODULES:
        importlib.import_module(name)
    yield figure(f"{len(_MODULES)} modules imported", time.perf_counter() - began, "s")
    done = _hrgan(["doctor", "--json"], capture=True)
    findings = json.loads(done.stdout)
    print(json.dumps(findings, indent=1))
    wrong = [one for one in _flat(findings) if one.get("fine") is False]
    yield figure("wrong, says the doctor", len(wrong), "findings", findings=wrong)


def _flat(content: object) -> Iterator[dict[str, object]]:
    """Yields every finding in the doctor's object, however it is nested."""
    if isinstance(content, dict):
        if "fine" in content:
            yield content
        for inner in content.values():
            yield from _flat(inner)
    elif isinstance(content, list):
        for inner in content:
            yield from _flat(inner)


def tests(conditions: Conditions) -> Iterator[Figure]:
    """Runs the suite's own tests. sizes: arguments for pytest; workers, if pytest-xdist is installed."""
    if importlib.util.find_spec("pytest") is None:
        raise LeftOut("pytest is not installed")
    arguments = list(conditions.sizes["arguments"])
    if conditions.sizes["workers"] > 1 and importlib.util.find_spec("xdist"):
        arguments += ["-n", str(conditions.sizes["workers"])]
    report = conditions.folder / "junit.xml"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        f"--junitxml={report}",
        *arguments,
    ]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    print(done.stdout[-20_000:], done.stderr[-5_000:])
    counts = counted(done.stdout)
    for word, count in counts.items():
        yield figure(word, count, "tests")
    if done.returncode or not counts.get("passed"):
        failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
        raise RuntimeError(f"pytest: exit code {done.returncode}; {', '.join(failed[:5])}")


def counted(text: str) -> dict[str, int]:
    """Returns {"passed": 3, "failed": 1, ...} from pytest's last line of counts."""
    kinds = r"(\d+) (passed|failed|skipped|errors?|xfailed|xpassed)"
    lines = [line for line in text.splitlines() if re.search(kinds, line) and " in " in line]
    return {word: int(count) for count, word in re.findall(kinds, lines[-1])} if lines else {}


def run(conditions: Conditions) -> Iterator[Figure]:
    """Prepares data, trains, stops by SIGUSR1, continues to the end, generates and evaluates. sizes: config,
    resolution, pictures, settings, seen (images after which it is stopped), length, generated, measured."""
    sizes, folder = conditions.sizes, conditions.folder
    data, made, out = folder / "data", folder / "run", folder / "generated"
    prepare = ["prepare", "demo:faces", str(data), "--resolution", str(sizes["resolution"])]
    prepare += ["--labels", "none", "--count", str(sizes["pictures"]), "--format", "jpg"]
    yield _timed("prepare", prepare)
    train = ["train", sizes["config"], f"data.path={data}", "--run", str(made)]
    train += [*sizes["settings"], f"engine.device={conditions.device.type}"]
    yield from _stopped(train, made, sizes["seen"])
    yield _timed("train goes on to the end", [*train, f"length.images={sizes['length']}"])
    newest = max(int(path.name) for path in (made / "snapshots").iterdir())
    if newest < sizes["length"]:
        raise RuntimeError(f"the newest snapshot is of {newest} images, not of {sizes['length']}")
    generate = ["generate", str(made), str(out), "--count", str(sizes["generated"]), "--deterministic"]
    yield _timed("generate --deterministic", [*generate, "--device", conditions.device.type])
    evaluate = ["evaluate", str(made), "--data", str(data), "--device", conditions.device.type]
    yield _timed("evaluate", [*evaluate, "--count", str(sizes["measured"])])


def _stopped(train: Sequence[str], made: Path, seen: int) -> Iterator[Figure]:
    """Starts training, sends SIGUSR1 once `seen` images are in the log, and waits for it to end well."""
    began = time.perf_counter()
    started = subprocess.Popen(_command(train), cwd=_ROOT, env=_environment())
    try:
        while _images(made) < seen:
            if started.poll() is not None:
                raise RuntimeError(f"train ended before {seen} images: exit code {started.returncode}")
            time.sleep(_POLL)
        yield figure(f"train: {seen} images in the log", time.perf_counter() - began, "s")
        asked = time.perf_counter()
        started.send_signal(signal.SIGUSR1)
        if started.wait():
            raise RuntimeError(f"train after SIGUSR1: exit code {started.returncode}")
        yield figure("saved and ended after SIGUSR1", time.perf_counter() - asked, "s")
    finally:
        started.kill()
        started.wait()
    if not any((made / "checkpoints").iterdir()):
        raise RuntimeError("no checkpoint was left")


def _images(made: Path) -> int:
    log = made / "log.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    return int(json.loads(lines[-1]).get("images_seen", 0)) if lines and lines[-1].endswith("}") else 0


def _timed(what: str, arguments: Sequence[str]) -> Figure:
    began = time.perf_counter()
    _hrgan(arguments)
    return figure(what, time.perf_counter() - began, "s")


def _hrgan(arguments: Sequence[str], *, capture: bool = False) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        _command(arguments), cwd=_ROOT, env=_environment(), text=True, check=False,
        stdout=subprocess.PIPE if capture else None,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"hrgan {arguments[0]}: exit code {done.returncode}: see log.txt")
    return done


def _command(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "launch.main", *arguments]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")])}
