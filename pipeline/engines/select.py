"""The engine that a config asks for."""

from __future__ import annotations

from pipeline.config.run import EngineConfig
from pipeline.contracts import Engine, Process
from pipeline.engines.replicated import Replicated


def select_engine(config: EngineConfig, process: Process) -> Engine:
    """An engine of `config.kind` on this process, not yet attached to networks."""
    engines = {"replicated": Replicated}
    return engines[config.kind](process)
