"""What the tests of `hrgan submit` share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from tests.small_run import write_config


@pytest.fixture(scope="session")
def home(tmp_path_factory) -> Path:
    """Shards and a configuration."""
    folder = tmp_path_factory.mktemp("submit")
    shards = folder / "shards"
    prepare("demo:digits", shards, Asked(resolution=16, channels=1, count=60, shard_size=30))
    write_config(folder / "c.yaml", shards, family={"minibatch_stddev_group": 1})
    return folder


@pytest.fixture
def slurm_stand_ins(tmp_path, monkeypatch) -> Path:
    """sbatch that gives number 40 or, where a file `refuse` lies, refuses; squeue that prints a file."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "sbatch").write_text(
        f"#!/bin/bash\nif [ -e {tools}/refuse ]; then cat {tools}/refuse >&2; exit 1; fi\n"
        f'cp "$1" {tools}/submitted.sh\necho "Submitted batch job 40"\n'
    )
    (tools / "squeue").write_text(f"#!/bin/bash\ncat {tools}/queue 2>/dev/null\n")
    for path in tools.iterdir():
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    return tools
