"""How the processes of a training run watch over each other, and what a lost one is called."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten

from launch.cluster.record import record_failure
from pipeline.config.run import RunConfig
from pipeline.contracts import Process
from pipeline.engines.heartbeat import Heartbeat, Place, end_process, lost_contact
from pipeline.errors import RunFailed
from pipeline.training.trainer import Trainer


@contextmanager
def contact(process: Process) -> Iterator[None]:
    """Where another rank has failed, with a line of its own, this one needs no traceback."""
    try:
        yield
    except RunFailed:
        raise
    except RuntimeError as error:
        if process.world_size == 1 or not lost_contact(error):
            raise
        raise RunFailed(f"lost contact with another process, which says why ({in_short(error)})") from error


def in_short(error: BaseException) -> str:
    """An error in few words."""
    return shorten(str(error), 120, placeholder=" ...")


def heartbeat_of(config: RunConfig, run: Path, trainer: Trainer) -> Heartbeat:
    """This rank's signs of life, which end the run with a line where another is lost."""

    def where() -> Place:
        progress = trainer.progress
        return Place(progress.step, progress.images_seen, trainer.engine.collectives)

    def end(line: str) -> None:
        record_failure(run, line)
        end_process(line)

    engine, process = config.engine, trainer.engine.process
    # gloo ends an exchange by itself after this time, NCCL as it is set up (`nccl_settings`) never.
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
