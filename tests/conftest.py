"""Settings of all tests."""

from __future__ import annotations

import os

# Before anything imports torch: a test's numbers must not depend on the machine's cores, and workers of
# pytest-xdist must not fight for them.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

# Examples are drawn the same way each time, and a slow machine is no failure.
settings.register_profile("hrgan", deadline=None, derandomize=True)
settings.load_profile("hrgan")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked gpu are skipped, and named, where there is no CUDA device."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="gpu: no CUDA device here"))
