"""How the processes of a training run watch each other."""

from __future__ import annotations

import math
from pathlib import Path

from launch.cluster.record import record_failure
from pipeline.config.run import RunConfig
from pipeline.engines.heartbeat import Heartbeat, RankProgress, end_process
from pipeline.training.trainer import Trainer


def heartbeat_of(config: RunConfig, run: Path, trainer: Trainer) -> Heartbeat:
    """This rank's heartbeat, which ends the run with a line for the user if another rank is lost."""

    def where() -> RankProgress:
        progress = trainer.progress
        return RankProgress(progress.step, progress.images_seen, trainer.engine.collectives)

    def end(line: str) -> None:
        record_failure(run, line)
        end_process(line)

    engine, process = config.engine, trainer.engine.process
    # gloo itself ends an exchange after this time; NCCL, as `nccl_settings` sets it up, never does.
    standstill = 60 * engine.exchange_minutes if process.device.type == "cuda" else math.inf
    return Heartbeat(
        run / "heartbeats",
        process,
        where,
        end=end,
        silence=engine.silence_seconds,
        patience=60 * engine.timeout_minutes,
        standstill=standstill,
    )
