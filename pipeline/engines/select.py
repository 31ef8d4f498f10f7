"""The engine that a config asks for."""

from __future__ import annotations

from typing import cast

from pipeline.config.run import EngineConfig
from pipeline.contracts import Engine, Process
from pipeline.engines.replicated import Replicated
from pipeline.engines.zero import Stage, Zero


def select_engine(config: EngineConfig, process: Process) -> Engine:
    """An engine of `config.kind` on this process, not yet attached to networks."""
    if config.kind == "zero":
        return Zero(process, cast(Stage, config.stage))
    return Replicated(process)
