"""An evaluation that was killed anywhere leaves nothing behind once it is done again."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.small_run import ROOT, environment


@pytest.mark.slow
def test_killed_at_any_change_of_files_it_leaves_nothing_and_the_same_figures(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.evaluation.killed", str(tmp_path), "13"]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) > 8
    assert [line for line in lines if not line.endswith("wrong []")] == []
    # The kills do leave something, which the next evaluation finds.
    assert sum(int(re.findall(r"left (\d+)", line)[0]) for line in lines) > len(lines) / 2
