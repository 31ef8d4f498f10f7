"""Which arithmetic this is: the same words stand for the same bits."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

import ops

_DECIDE = ("vendor_id", "cpu family", "model", "model name", "stepping", "cache size", "flags")


def arithmetic() -> dict[str, str]:
    """What decides how a product is rounded, as far as it can be asked."""
    ops.use("auto", devices=("cpu",), tell=lambda line: None)
    return {
        "torch": torch.__version__,
        "processor": _processor(),
        "operations": " ".join(sorted({op.implementation for op in ops.state() if op.device == "cpu"})),
    }


def _processor() -> str:
    """Digest of what Linux says of the first core: libraries choose their kernels by that."""
    info = Path("/proc/cpuinfo")
    first = info.read_text().split("\n\n")[0] if info.exists() else ""
    rows = dict(map(str.strip, line.split(":", 1)) for line in first.splitlines() if ":" in line)
    told = "\n".join(f"{name}: {' '.join(sorted(rows.get(name, '').split()))}" for name in _DECIDE)
    return hashlib.sha256(told.encode()).hexdigest()[:16]
