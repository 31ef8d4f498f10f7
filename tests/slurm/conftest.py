"""A real SLURM for tests, started once."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import UserError
from tools.slurm_sandbox import Sandbox


@pytest.fixture(scope="session")
def slurm() -> Iterator[Sandbox]:
    """Two nodes, idle when the first test begins; a test leaves no job behind."""
    with tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True) as folder:
        sandbox = Sandbox(Path(folder))
        try:
            sandbox.start()
        except UserError as missing:
            pytest.skip(f"slurm: {missing}")
        try:
            yield sandbox
        finally:
            sandbox.stop()
