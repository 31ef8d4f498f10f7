"""The policy that chooses between compiled and plain operations."""

from __future__ import annotations

import pytest
import torch

import ops
from ops import _library


@pytest.fixture(autouse=True)
def _restore(monkeypatch):
    monkeypatch.setattr(_library, "_native", {})
    monkeypatch.setattr(_library, "_causes", {})
    yield
    ops.use("auto")


def test_native_without_compiled_operations_says_why_in_one_line():
    _library.explain("upfirdn2d", "nvcc not found")
    with pytest.raises(ops.NativeOpsMissing) as caught:
        ops.use("native")
    assert "upfirdn2d: nvcc not found" in str(caught.value)
    assert "bias_act: no compiled operations are built" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert ops.backend() == "auto"


def test_auto_takes_what_is_there_and_reference_does_not():
    _library.provide("bias_act", lambda x, b, **_: x + 1)
    x = torch.zeros(1, 1)
    assert ops.bias_act(x).item() == 1
    assert {s.name: s.implementation for s in ops.state()}["bias_act"] == "native"
    ops.use("reference")
    assert ops.bias_act(x).item() == 0
    assert all(s.implementation == "reference" and s.reason for s in ops.state())


def test_unknown_backend_lists_the_known():
    with pytest.raises(ValueError, match="allowed: auto, native, reference"):
        ops.use("fast")
