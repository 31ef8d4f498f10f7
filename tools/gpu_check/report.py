"""Reports the results: a table, and lines for the ledger of what a GPU has run."""

from __future__ import annotations

import datetime
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tools.bench.machine import cpu_model
from tools.gpu_check.step import Figure, StepResult

_ROOT = Path(__file__).parents[2]
_MOST = 16  # figures of a step in the ledger; the file has all


def shown(row: Figure) -> str:
    """Returns a figure as text, such as "copy 4300 GB/s"."""
    return f"{row['what']} {row['value']:.4g} {row['unit']}".strip()


def line(result: StepResult) -> str:
    """Returns one line for a step."""
    why = f"  {result.why}" if result.why else ""
    return f"{result.step:14} {result.state:8} {result.seconds:6.1f} s{why}"


def table(results: Sequence[StepResult]) -> list[str]:
    """Returns every step with all of its figures."""
    lines = []
    for result in results:
        lines.append(line(result))
        lines += [f"    {shown(row)}" for row in result.rows]
    return lines


def ledger(results: Sequence[StepResult], command: str, device: str) -> list[str]:
    """Returns rows for the ledger's table; a step that was left out gets none."""
    today = datetime.date.today().isoformat()
    return [
        f"| {today} | {device} | {commit()} | `{command} --only {result.step}` | {_seen(result)} |"
        for result in results
        if result.state != "left out"
    ]


def _seen(result: StepResult) -> str:
    left = len(result.rows) - _MOST
    parts = [shown(row) for row in result.rows[:_MOST]] + [f"{left} more in steps.json"] * (left > 0)
    figures = "; ".join(parts)
    fault = [] if result.state == "ok" else [f"{result.state.upper()}: {result.why}"]
    return ". ".join([*fault, figures]).replace("|", "/").replace("\n", " ")


def commit() -> str:
    """Returns the commit of the checkout, with a mark if files differ from it; "unknown" outside one."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*"],
        cwd=_ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip() or "unknown"


def device_name(device: str) -> str:
    """Returns the name of the GPU, or of the processor."""
    import torch

    return torch.cuda.get_device_name() if device == "cuda" else cpu_model()
