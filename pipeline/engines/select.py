"""Selects the engine that a config asks for."""

from __future__ import annotations

from importlib.util import find_spec
from typing import cast

from pipeline.config.run import EngineConfig
from pipeline.contracts import Engine, Process
from pipeline.engines.replicated import Replicated
from pipeline.engines.zero import Zero, ZeroStage, missing_deepspeed


def check_engine(config: EngineConfig) -> None:
    """Raises UserError if this machine lacks what the engine needs, without loading it."""
    if config.kind == "zero" and find_spec("deepspeed") is None:
        raise missing_deepspeed("it is not installed")


def select_engine(config: EngineConfig, process: Process) -> Engine:
    """Returns an engine of `config.kind` for this process, not yet attached to networks."""
    if config.kind == "zero":
        return Zero(process, cast(ZeroStage, config.stage))
    return Replicated(process, config.bucket_mb, config.exchange_minutes)
