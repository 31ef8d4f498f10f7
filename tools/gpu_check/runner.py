"""Runs steps one after the other, each in a process of its own that is killed at its limit.

A step's limit is the moment at which its turn would end if all before it had used their time: what they leave
over is the later ones'. Each figure is on disk as soon as it is found (`rows.jsonl`), each step as soon as it
ends (`steps.json`).
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import torch

from tools.bench.machine import machine
from tools.gpu_check.step import Conditions, Figure, LeftOut, State, Step, StepResult

_LEFT_OUT = 3  # exit code of a step that has nothing to do
_GONE = 5.0  # seconds until a killed process must be gone; a GPU can hold it longer


@dataclass(frozen=True)
class CheckSettings:
    """What is asked of all steps. out: folder of the results. budget: seconds of all steps together. tiny:
    sizes of the rehearsal. scratch: where steps may write what nobody wants; gone at the end."""

    out: Path
    device: torch.device
    budget: float
    peers: tuple[str, ...] = ()
    tiny: bool = False
    scratch: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="gpu_check-")))


@dataclass(frozen=True)
class _Started:
    step: Step
    process: ForkServerProcess
    began: float
    until: float


def run(steps: Sequence[Step], order: CheckSettings, tell: Callable[[StepResult], None]) -> list[StepResult]:
    """The results, in the order in which steps ended."""
    order.out.mkdir(parents=True, exist_ok=True)
    for name in ("rows.jsonl", "log.txt"):
        (order.out / name).write_text("")
    results: list[StepResult] = []
    try:
        for result in _each(steps, order):
            results.append(result)
            _publish(order, results)
            tell(result)
    finally:
        shutil.rmtree(order.scratch, ignore_errors=True)
    return results


def _each(steps: Sequence[Step], order: CheckSettings) -> Iterator[StepResult]:
    """Steps that run beside others are waited for at the end."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tools.gpu_check.steps"])  # imported once, not once a step
    ready = context.Process(target=_nothing)  # the clock begins when everything is imported
    ready.start()
    ready.join()
    began, planned, beside = time.monotonic(), 0.0, list[_Started]()
    try:
        for step in steps:
            planned += 0.0 if step.beside else step.seconds
            if planned > order.budget:
                yield StepResult(step.name, "left out", 0.0, why=f"beyond the budget of {order.budget:.0f} s")
                continue
            process = context.Process(target=_work, args=(step, order), name=step.name)
            process.start()
            now = time.monotonic()
            started = _Started(step, process, now, now + step.seconds if step.beside else began + planned)
            if step.beside:
                beside.append(started)
            else:
                yield _ended(started, order)
        for started in beside:
            yield _ended(started, order)
    finally:
        for started in beside:
            _kill(started.process)


def _nothing() -> None:
    pass


def _ended(started: _Started, order: CheckSettings) -> StepResult:
    """Waits for a step until its limit, then kills it and whatever it started."""
    process = started.process
    process.join(max(0.0, started.until - time.monotonic()))
    late = process.exitcode is None
    _kill(process)
    rows = _rows_of(started.step, order)
    # One that ran beside others may have ended long ago.
    seconds = next((row["took"] for row in rows if "took" in row), time.monotonic() - started.began)
    why = next((row["why"] for row in rows if "why" in row), "")
    kept = tuple(row["row"] for row in rows if "row" in row)
    states: dict[int | None, State] = {0: "ok", _LEFT_OUT: "left out"}
    state: State = "killed" if late else states.get(process.exitcode, "failed")
    if late:
        why = f"not done after {seconds:.0f} s"
    elif state == "failed" and not why:
        why = f"exit code {process.exitcode}: see log.txt"
    return StepResult(started.step.name, state, seconds, kept, why)


def _kill(process: ForkServerProcess) -> None:
    """With its children, which are of its session."""
    assert process.pid is not None
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.exitcode is None:
        process.kill()
    process.join(_GONE)


def _work(step: Step, order: CheckSettings) -> None:
    """In the process of the step. What it prints goes to the log."""
    os.setsid()
    log = os.open(order.out / "log.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(log, stream)
    print(f"== {step.name}", flush=True)
    folder = order.scratch / step.name
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    conditions = Conditions(order.device, folder, order.peers, step.tiny if order.tiny else step.sizes)
    try:
        for row in step.measure(conditions):
            _note(step, order, row=row)
    except LeftOut as reason:
        _note(step, order, why=str(reason))
        sys.exit(_LEFT_OUT)
    except Exception as error:
        traceback.print_exc()
        _note(step, order, why=f"{type(error).__name__}: {(str(error).strip() or ' ').splitlines()[0]}")
        sys.exit(1)
    finally:
        _note(step, order, took=time.monotonic() - began)


def _note(step: Step, order: CheckSettings, **what: Figure | str | float) -> None:
    """A line of `rows.jsonl`, written whole."""
    line = json.dumps({"step": step.name, **what}) + "\n"
    print(line, end="", flush=True)
    handle = os.open(order.out / "rows.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(handle, line.encode())
    finally:
        os.close(handle)


def _rows_of(step: Step, order: CheckSettings) -> list[Figure]:
    lines = [json.loads(line) for line in (order.out / "rows.jsonl").read_text().splitlines()]
    return [line for line in lines if line["step"] == step.name]


def _publish(order: CheckSettings, results: Sequence[StepResult]) -> None:
    text = json.dumps({"machine": machine(), "steps": [asdict(one) for one in results]}, indent=1)
    aside = order.out / "steps.json.partial"
    aside.write_text(text + "\n")
    aside.replace(order.out / "steps.json")
