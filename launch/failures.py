"""What is said when a machine fails a command: no disk, no permission, no memory, and what to do."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

from pipeline.storage.faults import line_of

_TEXTS = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc", "alloc_failed")
_ASKED = re.compile(r"allocate ([\d.]+) ?(bytes|[KMGTP]iB)")
_UNITS = {
    "bytes": 1,
    **{unit: 1024**power for power, unit in enumerate(("KiB", "MiB", "GiB", "TiB", "PiB"), 1)},
}
_MENDS = {
    "train": "lower batch.micro, or let batch.micro=auto find what fits; or set engine.recompute=blocks",
    "generate": "lower --batch",
    "encode": "lower --batch",
    "evaluate": "lower --batch, or start fewer --processes",
    "explore": "lower --batch, or ask for fewer images",
}


def out_of_memory(error: BaseException) -> bool:
    """Whether the memory of a GPU or of this machine was not enough."""
    if isinstance(error, MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(part in text for part in _TEXTS)


def failure_line(error: BaseException, arguments: Sequence[str]) -> str | None:
    """One line for people, where the error is of a known kind. arguments: of the command that failed."""
    return line_of(error) if isinstance(error, OSError) else memory_line(error, arguments)


def memory_line(error: BaseException, arguments: Sequence[str]) -> str | None:
    """One line for people, if it is `out_of_memory`. arguments: of the command that failed."""
    if not out_of_memory(error):
        return None
    parts = []
    if asked := _ASKED.search(str(error)):
        parts.append(f"{_gib(float(asked[1]) * _UNITS[asked[2]])} were asked for")
    held = _most_held()
    if held is not None:
        parts.append(f"{_gib(held)} was the most that this process held")
    command = next((word for word in arguments if word in _MENDS), "")
    mend = _MENDS.get(command, "ask for less at once")
    return f"out of memory: {', '.join(parts)}; {mend}" if parts else f"out of memory; {mend}"


def _most_held() -> float | None:
    torch = sys.modules.get("torch")  # which a command that failed early may not have needed
    if torch is None:
        return None
    from pipeline.training.meters import peak_gib

    device = "cuda" if torch.cuda.is_available() and torch.cuda.is_initialized() else "cpu"
    return 2**30 * peak_gib(torch.device(device))


def _gib(size: float) -> str:
    return f"{size / 2**30:.2f} GiB"
