"""A run that goes on from another's checkpoint: what would not fit is refused before anything is written,
then the run gets a copy of the checkpoint, and is from then on one like any other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from launch.assembly.trainer import assemble, family_of
from pipeline.board.history import carry_curves
from pipeline.config.load import identity
from pipeline.config.run import EngineConfig, RunConfig
from pipeline.contracts import ImageSpec, Process
from pipeline.engines.replicated import Replicated
from pipeline.errors import Damaged, UserError
from pipeline.storage.checkpoints import CheckpointStore
from pipeline.storage.faults import refusal
from pipeline.storage.forks import Fork, find_fork
from pipeline.storage.runs import data_digests
from pipeline.training.progress import Progress
from pipeline.training.state import put_back
from pipeline.words import keep_quiet, patiently, tell

_NOWHERE = torch.device("meta")


def check_fork(config: RunConfig, run: Path, spec: ImageSpec) -> None:
    """Raises UserError if `run` would begin with all that another run's checkpoint holds, and that is not
    there or does not fit; writes nothing."""
    if config.start.keep == "all" and not CheckpointStore(run, 1).folders():
        with patiently("reading the checkpoint that start.source names"):
            _check_fit(find_fork(config, run, keep_quiet), config, spec)


def _check_fit(fork: Fork, config: RunConfig, spec: ImageSpec) -> None:
    """The very steps that restore a checkpoint, on tensors without data."""
    with _NOWHERE:
        family = family_of(config, spec)
        networks = family.networks()
    trainer = assemble(
        family,
        engine=Replicated(Process(device=_NOWHERE)),
        settings=EngineConfig(graphs="off"),
        networks=networks,
    )
    try:
        put_back(trainer, {**fork.checkpoint.shapes(), "progress": Progress().state()})
    except Damaged as damage:
        raise refusal(damage, f"start.source: damaged: {damage}") from damage
    except UserError as error:
        raise UserError(
            f"start.keep=all: {fork.checkpoint.folder}: {error}; allowed: settings and data with the same "
            "networks, optimizers and memory, or start.keep=weights, which takes what fits"
        ) from error


def fork(config: RunConfig, run: Path, data: Mapping[str, Any]) -> None:
    """Copies the checkpoint that `start.source` names into `run`, with the curves up to it. data: what `run`
    has been claimed for."""
    found = find_fork(config, run, lambda line: tell(f"hrgan: warning: {line}"))
    lineage = found.lineage_under(config, data)
    with patiently(f"copying {found.checkpoint.folder}"):
        if config.report.tensorboard:
            same_data = data_digests(found.data) == data_digests(data)
            carry_curves(found.run, run, lineage[-1].images_seen, identity(config), judged=same_data)
        # Last, since a run that has a checkpoint goes on from that.
        CheckpointStore(run, config.checkpoints.keep).adopt(found.checkpoint, lineage)
