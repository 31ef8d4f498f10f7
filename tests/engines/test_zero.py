"""What of the `zero` engine needs no ranks: its settings, its refusals. The rest: tests/distributed."""

from __future__ import annotations

import importlib

import pytest
from pydantic import ValidationError

from pipeline.config.run import EngineConfig
from pipeline.contracts import Process
from pipeline.engines import select, zero
from pipeline.engines.replicated import Replicated
from pipeline.engines.select import select_engine
from pipeline.errors import UserError


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_nothing_changes_gradients_on_the_way(stage):
    found = zero.settings(stage, 1001)
    assert found["gradient_clipping"] == 0.0
    assert found["gradient_accumulation_steps"] == 1
    assert not found["managed_gradient_accumulation"]
    assert found["communication_data_type"] == "fp32"
    assert not any(found[name]["enabled"] for name in ("fp16", "bf16", "torch_autocast"))
    assert found["zero_optimization"]["stage"] == stage


def test_a_bucket_holds_the_network_but_never_more_than_200_megabytes():
    assert zero.settings(1, 1001)["zero_optimization"]["reduce_bucket_size"] == 1002
    assert zero.settings(1, 10**9)["zero_optimization"]["reduce_bucket_size"] * 4 == 200e6


def test_stage_three_is_refused_with_its_reason():
    with pytest.raises(ValidationError, match=r"splits the weights.*allowed: 0, 1, 2"):
        EngineConfig(kind="zero", stage=3)
    with pytest.raises(ValidationError, match="allowed: 0, 1, 2"):
        EngineConfig(kind="zero", stage=4)


def test_without_deepspeed_one_line_says_what_to_do(monkeypatch):
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named '{name}'")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(UserError, match=r"engine\.kind=zero: .*\[deepspeed\].*engine\.kind=replicated"):
        select_engine(EngineConfig(kind="zero"), Process())
    monkeypatch.setattr(select, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"engine\.kind=zero: .*engine\.kind=replicated"):
        select.check_engine(EngineConfig(kind="zero"))
    select.check_engine(EngineConfig())


def test_replicated_is_the_default():
    assert isinstance(select_engine(EngineConfig(), Process()), Replicated)
