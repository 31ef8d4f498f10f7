"""The policy that chooses between compiled and plain operations."""

from __future__ import annotations

import pytest
import torch

import ops
from ops import _library


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    for name, value in {
        "_native": {},
        "_chosen": {},
        "_causes": {},
        "_loaded": set(),
        "_told": False,
    }.items():
        monkeypatch.setattr(_library, name, value)
    monkeypatch.setattr(_library, "_load", lambda devices, tell, build: {})
    monkeypatch.setattr(_library, "_backend", "auto")
    monkeypatch.delenv(_library.ENVIRONMENT, raising=False)


def loads(monkeypatch, **causes):
    """Makes loading end as given: device=None loads it, device="cause" does not."""

    def load(devices, tell, build):
        missing = {device: causes[device] for device in devices if causes.get(device)}
        _library._loaded.update(set(devices) - set(missing))
        _library._causes.update(missing)
        return missing

    monkeypatch.setattr(_library, "_load", load)


def implementations(device="cpu"):
    return {s.name: s.implementation for s in ops.state() if s.device == device}


def test_native_says_every_cause_in_one_line(monkeypatch):
    loads(monkeypatch, cpu="no C++ compiler", cuda="no nvcc")
    with pytest.raises(ops.NativeOpsMissing) as caught:
        ops.use("native", devices=("cpu", "cuda"))
    assert "cpu: no C++ compiler; cuda: no nvcc" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_auto_says_once_why_it_runs_plain_operations(monkeypatch):
    loads(monkeypatch, cpu="no C++ compiler")
    told = []
    ops.use("auto", devices=("cpu",), tell=told.append)
    ops.use("auto", devices=("cpu",), tell=told.append)
    assert told == ["hrgan: warning: operations run as plain PyTorch, slower: cpu: no C++ compiler"]
    assert set(implementations().values()) == {"reference"}


def test_a_compiled_form_runs_on_the_devices_whose_library_is_loaded(monkeypatch):
    _library.provide("bias_act", lambda x, b, **_: x + 1)
    x = torch.zeros(1, 1)
    assert ops.bias_act(x).item() == 0  # nothing is loaded yet
    loads(monkeypatch)
    ops.use("auto", devices=("cpu",))
    assert ops.bias_act(x).item() == 1
    assert ops.loaded("cpu")
    assert not ops.loaded("cuda")
    assert implementations()["bias_act"] == "native"
    assert implementations("cuda")["bias_act"] == "reference"
    ops.use("reference")
    assert ops.bias_act(x).item() == 0
    assert all(s.implementation == "reference" and s.reason for s in ops.state())


def test_a_form_for_one_device_leaves_the_other_to_the_reference(monkeypatch):
    loads(monkeypatch)
    _library.provide("bias_act", lambda x, b, **_: x, devices=("cuda",))
    ops.use("auto", devices=("cpu", "cuda"))
    assert implementations()["bias_act"] == "reference"
    assert implementations("cuda")["bias_act"] == "native"


def test_a_form_offered_after_loading_runs_at_once(monkeypatch):
    loads(monkeypatch)
    ops.use("auto", devices=("cpu",))
    _library.provide("bias_act", lambda x, b, **_: x + 1)
    assert ops.bias_act(torch.zeros(1, 1)).item() == 1


def test_only_known_operations_have_compiled_forms():
    with pytest.raises(KeyError, match=r"unknown operation nothing; known: .*bias_act"):
        _library.provide("nothing", lambda x: x)


def test_the_environment_stands_in_for_auto_and_nothing_else(monkeypatch):
    loads(monkeypatch)
    monkeypatch.setenv(_library.ENVIRONMENT, "reference")
    ops.use("auto")
    assert ops.backend() == "reference"
    ops.use("native", devices=("cpu",))
    assert ops.backend() == "native"
    monkeypatch.setenv(_library.ENVIRONMENT, "fast")
    with pytest.raises(ValueError, match=r"\$HRGAN_OPS_BACKEND: 'fast' is unknown; allowed: auto"):
        ops.use("auto")


def test_unknown_backend_lists_the_known():
    with pytest.raises(ValueError, match="allowed: auto, native, reference"):
        ops.use("fast")
