"""Tests touch no GPU unless they are marked and asked for."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from tests.conftest import wants_gpu


@pytest.mark.parametrize(
    ("marks", "wants"),
    [
        ("", False),
        ("not gpu", False),
        ("slow", False),
        ("gpu", True),
        ("gpu and not slow", True),
        ("gpus", False),
    ],
)
def test_only_the_mark_asks_for_one(marks: str, wants: bool) -> None:
    assert wants_gpu(marks) == wants


def test_no_gpu_is_visible_here_nor_to_what_is_started_from_here() -> None:
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
    assert torch.cuda.device_count() == 0
    code = "import os; assert os.environ['CUDA_VISIBLE_DEVICES'] == ''"
    subprocess.run([sys.executable, "-c", code], check=True)
