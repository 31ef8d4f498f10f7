"""`hrgan train`: put the parts of a run together and let it run."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from textwrap import shorten

import torch
from torch import nn

from launch.operations import prepare_operations, use_operations
from launch.processes import is_one_of_many, run_ranks
from launch.record import EXIT_REQUEUE, most_requeues, record_end, record_failure, recorded, restarts
from pipeline.config.load import dump_config, identity
from pipeline.config.run import RunConfig
from pipeline.contracts import Family, ImageSpec, Networks, Process
from pipeline.data.card import data_card
from pipeline.data.index import ShardIndex
from pipeline.data.stream import ImageStream
from pipeline.engines.heartbeat import Heartbeat, Place, end_process, lost_contact
from pipeline.engines.process import from_all, from_first, start_process, stop_process
from pipeline.engines.select import check_engine, select_engine
from pipeline.errors import RunFailed, UserError
from pipeline.models.auto import with_auto_settings
from pipeline.models.layers import compile_main_phases, recompute_blocks
from pipeline.models.registry import build_family, low_precision_of
from pipeline.randomness import derive_seed
from pipeline.storage.checkpoints import CheckpointStore
from pipeline.storage.ending import asked_to_end
from pipeline.storage.lock import only_writer
from pipeline.storage.pictures import compose_grid, write_picture
from pipeline.storage.runs import check_claim, claim_run
from pipeline.storage.start import load_start
from pipeline.training.keeper import RunKeeper, grid_columns
from pipeline.training.loop import Loop, Outcome
from pipeline.training.report import Report
from pipeline.training.resume import agreed_checkpoint
from pipeline.training.start import begin_with
from pipeline.training.state import put_back
from pipeline.training.stop import StopRequest
from pipeline.training.trainer import Trainer, micro_batches


def train(config: RunConfig, run: Path, processes: int) -> int:
    """Trains `config` in folder `run`, going on from its newest whole checkpoint. Returns the exit code.

    processes: ranks to start on this machine; ignored in a process that already is one of many.
    """
    most_requeues()  # what is wrong in the environment is said before any work
    index = open_data(config)
    spec = trained_spec(config, index)
    config = with_auto_settings(config, spec)
    if processes > 1 and not is_one_of_many():
        _check(config, spec, processes)
        prepare_operations(config.ops.backend, config.engine.device)
        return run_ranks(sys.argv[1:], processes, record=lambda line: record_failure(run, line))
    patience = config.engine.timeout_minutes
    process = start_process(config.engine.device, patience + min(patience, _GRACE_MINUTES))
    process = start_process(config.engine.device, config.engine.exchange_minutes)
