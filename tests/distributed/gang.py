"""Several real processes that talk over gloo, for tests."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from launch.cluster.processes import free_port, rank_variables
from tests.warm import run_warm

ROOT = Path(__file__).resolve().parents[2]


def run_gang(script: str, ranks: int, *arguments: str, timeout: float = 180) -> None:
    """Runs the test script `script` (beside this file) as `ranks` ranks; AssertionError if one fails."""
    run_program([str(Path(__file__).with_name(script)), *arguments], ranks, timeout)


def run_module(module: str, ranks: int, arguments: Sequence[str]) -> None:
    """As `tools.ranks.run_module` does."""
    run_program(["-m", module, *arguments], ranks, 400)


def run_program(program: Sequence[str], ranks: int, timeout: float) -> None:
    """See `tests.warm`; AssertionError if a rank fails."""
    port = free_port()
    environments = [
        {
            **os.environ,
            **rank_variables(rank, ranks, port),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        }
        for rank in range(ranks)
    ]
    done = run_warm([program] * ranks, environments, ROOT, timeout)
    texts = [f"--- rank {rank}\n{one.stdout}{one.stderr}" for rank, one in enumerate(done)]
    assert [one.returncode for one in done] == [0] * ranks, "\n".join(texts)
