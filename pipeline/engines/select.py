"""The engine that a config asks for."""

from __future__ import annotations

from importlib.util import find_spec
from typing import cast

from pipeline.config.run import EngineConfig
from pipeline.contracts import Engine, Process
from pipeline.engines.replicated import Replicated
from pipeline.engines.zero import Stage, Zero, missing_deepspeed


def check_engine(config: EngineConfig) -> None:
    """UserError if this machine lacks what the engine needs; without the cost of loading it."""
    if config.kind == "zero" and find_spec("deepspeed") is None:
        raise missing_deepspeed("it is not installed")


# Megabytes where the configuration leaves them open: as measured on a CPU (README.md of this folder); on a
# GPU unmeasured, so the plainer way.
DEFAULT_BUCKET_MB = {"cpu": 0.0, "cuda": 0.0}


def select_engine(config: EngineConfig, process: Process) -> Engine:
    """An engine of `config.kind` on this process, not yet attached to networks."""
    if config.kind == "zero":
        return Zero(process, cast(Stage, config.stage))
    bucket_mb = config.bucket_mb
    if bucket_mb is None:
        bucket_mb = DEFAULT_BUCKET_MB[process.device.type]
    return Replicated(process, bucket_mb)
