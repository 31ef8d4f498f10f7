"""`hrgan train`: puts the parts of a run together and runs it."""

from __future__ import annotations

import secrets
import sys
from contextlib import ExitStack, nullcontext
from functools import partial
from pathlib import Path

from launch.assembly.dataset import (
    Sets,
    check_needs,
    look_at_shards,
    open_data,
    stream_of,
    trained_spec,
)
from launch.assembly.fitting import settled
from launch.assembly.fixtures import check_fixtures, with_fixtures
from launch.assembly.latents import codec_settings, with_latents
from launch.assembly.operations import prepare_operations, use_operations
from launch.assembly.precision import with_computed_precision
from launch.assembly.trainer import assemble, family_of
from launch.assembly.watching import heartbeat_of
from launch.cluster.processes import is_one_of_many, run_ranks
from launch.cluster.record import EXIT_REQUEUE, most_requeues, record_end, record_failure, recorded, restarts
from pipeline.config.load import dump_config, identity
from pipeline.config.run import RunConfig
from pipeline.contracts import MOMENTS, Family, ImageSpec, Process
from pipeline.data.shards.card import data_card
from pipeline.data.shards.index import ShardIndex
from pipeline.engines.contact import contact
from pipeline.engines.devices import check_processes
from pipeline.engines.heartbeat import Heartbeat
from pipeline.engines.process import from_all, from_first, joined
from pipeline.engines.select import check_engine
from pipeline.errors import UserError
from pipeline.evaluation.metrics.registry import check_ranking
from pipeline.float32 import full_float32
from pipeline.images.pictures import compose_grid, write_picture
from pipeline.kernels import choose_kernels
from pipeline.models.auto import with_auto_settings
from pipeline.storage.checkpoints import CheckpointStore
from pipeline.storage.ending import asked_to_end
from pipeline.storage.lock import only_writer
from pipeline.storage.runs import as_begun, check_claim, claim_run, keep_settled
from pipeline.storage.start import load_start
from pipeline.training.keeper import RunKeeper
from pipeline.training.loop import Loop, Outcome
from pipeline.training.pictures import grid_columns, originals
from pipeline.training.report import Report
from pipeline.training.resume import agreed_checkpoint
from pipeline.training.start import begin_with
from pipeline.training.state import put_back
from pipeline.training.stop import StopRequest
from pipeline.training.trainer import Trainer, micro_batches
from pipeline.words import counted, keep_quiet, note, patiently, tell


def train(config: RunConfig, run: Path, processes: int) -> int:
    """Trains `config` in the folder `run`, continuing from its newest whole checkpoint. Returns the exit
    code.

    `processes` is the number of ranks to start on this machine; it is ignored in a process that is already
    one of several.
    """
    most_requeues()  # reports mistakes in the environment before any work
    check_ranking(config.stop.metric, "stop.metric")
    many = is_one_of_many()
    with nullcontext() if many else patiently("reading the index and the sizes of the shards"):
        sets = open_data(config, look=not many)
    spec = trained_spec(config, sets)
    config = with_auto_settings(as_begun(with_latents(config, sets.first), run), spec)
    if processes > 1 and not many:
        _check(config, spec, processes)
        check_processes(processes, on_cpu=config.engine.device == "cpu")
        prepare_operations(config.ops.backend, config.engine.device)
        return run_ranks(sys.argv[1:], processes, record=lambda line: record_failure(run, line))
    full_float32()
    choose_kernels(deterministic=config.engine.deterministic)
    with joined(config.engine.device, config.engine.exchange_minutes) as process:
        if many:
            with patiently("reading the sizes of the shards", note if process.is_first else keep_quiet):
                look_at_shards(config, sets, process)
        tell_first = tell if process.is_first else keep_quiet
        config = with_computed_precision(config, process, tell)
        family = _check(config, spec, process.world_size)
        config = with_fixtures(config, family, process)
        use_operations(config.ops.backend, process.device, tell=tell_first)
        with StopRequest(config.length.time).listening() as stop, ExitStack() as held:
            if process.is_first:
                # After a node has failed, processes of the previous start may not have ended yet.
                wait = 2 * config.engine.silence_seconds if restarts() else 0
                held.enter_context(only_writer(run, wait))
                claim_run(run, config, sets.claim())
                held.enter_context(recorded(run))
            # The rank that failed reports why, so that this one needs no traceback.
            with contact(process, "lost contact with another process, which says why ({})".format):
                config = _settled(config, spec, run, process)
                outcome = _run(config, run, sets, family, process, stop)
                return _finish(run, outcome, stop, process)


def _settled(config: RunConfig, spec: ImageSpec, run: Path, process: Process) -> RunConfig:
    with patiently("trial steps for batch.micro=auto", note if process.is_first else keep_quiet):
        complete = settled(config, spec, process)
    if complete is not config and process.is_first:
        keep_settled(run, complete)
    return complete


def check_start(config: RunConfig, run: Path, processes: int) -> RunConfig:
    """Refuses what `train` would refuse with `processes` processes, on any machine, and writes nothing.
    Returns `config` as `train` would complete it from the run and the data."""
    check_ranking(config.stop.metric, "stop.metric")
    sets = open_data(config)
    spec = trained_spec(config, sets)
    config = with_auto_settings(as_begun(with_latents(config, sets.first), run), spec)
    family = _check(config, spec, processes)
    config = with_fixtures(config, family, Process())
    check_claim(run, config, sets.claim())
    return config


def _check(config: RunConfig, spec: ImageSpec, world_size: int) -> Family:
    """Checks everything that can be refused before any work starts."""
    check_engine(config.engine)
    as_asked = config.model_copy(update={"engine": config.engine.model_copy(update={"computes": None})})
    family_of(
        as_asked, spec
    )  # refuses a precision that the family lacks, even if this machine would not use it
    family = family_of(config, spec)
    for size in family.schedule.batch_sizes():
        if size % world_size:
            key = "batch.size" if size == config.batch.size else "a stage's batch size"
            raise UserError(
                f"{key}={size}: does not divide over {world_size} processes; "
                f"allowed: a multiple of {world_size}"
            )
        images = size // world_size
        micro = None if config.batch.micro == "auto" else config.batch.micro
        family.check_batch(images // micro_batches(images, micro))
    check_fixtures(config, family)
    check_needs(config, family)
    return family


def _run(
    config: RunConfig, run: Path, sets: Sets, family: Family, process: Process, stop: StopRequest
) -> Outcome:
    assert config.batch.micro != "auto", "it is settled before"
    trainer = assemble(
        family,
        process,
        seed=config.seed,
        micro=config.batch.micro,
        settings=config.engine,
        tell=tell if process.is_first else keep_quiet,
    )
    _resume(trainer, run, config)
    index = sets.first
    classes = index.classes if family.spec.classes else ()
    attempt = from_first(secrets.token_hex(4), process)
    keeper = RunKeeper(run, config, index, classes, attempt, sets.second)
    start = trainer.progress.images_seen
    stream = stream_of(config, sets, family, process, start)
    heartbeat = heartbeat_of(config, run, trainer)
    with stream, heartbeat.running(), ExitStack() as stack:
        trainer.stream = stream
        report = None
        if process.is_first:
            summary = _summary(config, index, trainer)
            tell(summary)
            for caution in config.family.cautions():
                tell(f"hrgan: warning: {caution}")
            report = stack.enter_context(_report(config, run, start, process))
            if start == 0:
                _begin(report, run, config, index, summary)
            else:
                report.introduce(identity(config))
        stack.callback(keeper.give_up)  # has no effect if the run has ended well
        stack.enter_context(contact(process, partial(_loss, trainer, heartbeat, stop)))
        end = partial(asked_to_end, run, config.stop)
        return Loop(trainer, config, keeper, report, stop, end).run()


def _loss(trainer: Trainer, heartbeat: Heartbeat, stop: StopRequest, said: str) -> str:
    """The line for the user when a rank is lost. `said` is the message of the process group."""
    lost, progress = heartbeat.name_the_lost(told=lambda: stop.by_signal), trainer.progress
    return (
        f"{lost}; the last step was {progress.step}, at {progress.images_seen} images ({said}); "
        "the same command goes on from the last checkpoint"
    )


def _resume(trainer: Trainer, run: Path, config: RunConfig) -> None:
    process, store = trainer.engine.process, CheckpointStore(run, config.checkpoints.keep)
    checkpoint = agreed_checkpoint(store, process, lambda line: tell(f"hrgan: warning: {line}"))
    if checkpoint is not None:
        with patiently(f"reading {checkpoint.folder}", note if process.is_first else keep_quiet):
            put_back(trainer, checkpoint.load())
        if process.is_first:
            store.prune(trainer.progress.images_seen)  # old checkpoints that a failed start has left
            tell(f"going on from {checkpoint.folder} ({trainer.progress.images_seen} images)")
    elif config.start.source is not None:
        taken = begin_with(trainer, load_start(Path(config.start.source)))
        if process.is_first:
            tell(f"starting from {config.start.source}: {taken}")


def _summary(config: RunConfig, index: ShardIndex, trainer: Trainer) -> str:
    process = trainer.engine.process
    sizes = [
        f"{net} {sum(p.numel() for p in module.parameters()) / 1e6:.2f}M"
        for net, module in trainer.networks.items()
        if any(True for _ in module.parameters())
    ]
    classes = trainer.family.spec.classes
    labels = counted(classes, "class", "classes") if classes else "no labels"
    tf32 = f", TF32 {config.engine.tf32}" if process.device.type == "cuda" else ""
    return (
        f"{config.family.name}: {', '.join(sizes)} parameters; {counted(index.count, 'image')} of "
        f"{index.height}x{index.width}{_latents(config, trainer.family)}, {labels}; batch "
        f"{config.batch.size} on {process.world_size} x {process.device.type}, {config.engine.computed}{tf32}"
    )


def _latents(config: RunConfig, family: Family) -> str:
    if codec_settings(config) is None:
        return ""
    seen = family.codec.latents(family.spec)
    when = "beforehand" if MOMENTS in family.needs.fields else "at each step, slower than by hrgan encode"
    return f" as latents of {seen.height}x{seen.width} with {seen.channels} channels, encoded {when}"


def _report(config: RunConfig, run: Path, start: int, process: Process) -> Report:
    return Report(
        run,
        total=config.length.images,
        start=start,
        device=process.device,
        tensorboard=config.report.tensorboard,
    )


def _begin(report: Report, run: Path, config: RunConfig, index: ShardIndex, summary: str) -> None:
    """Reports once, at the beginning of a run, what the run is, and a picture of the reals."""
    texts = {"config": f"```yaml\n{dump_config(config)}\n```", "data": data_card(index), "summary": summary}
    report.describe(texts, identity(config))
    count = config.snapshots.grid
    picture = compose_grid(originals(index, config, count), grid_columns(count))
    write_picture(run / "samples" / "reals.png", picture)
    report.picture("reals", picture, 0)


def _finish(run: Path, outcome: Outcome, stop: StopRequest, process: Process) -> int:
    """Reports how the run ended, and returns the exit code. Called on all ranks after rank 0 has saved. Any
    rank may have received the request to stop; none leaves early, because some launchers would then end the
    others."""
    asked = from_all((stop.reason, stop.by_signal), process)
    stopped_by = None
    if outcome.stopped_by is not None:
        stopped_by = next((reason for reason, _ in asked if reason is not None), outcome.stopped_by)
    if process.is_first:
        record_end(run, stopped_by, outcome.ended_by)
        if stopped_by is None:
            tell(f"finished: {outcome.images_seen} images, in {run}")
        else:
            where = f"at {outcome.images_seen} images, saved in {run}"
            tell(f"stopped by {stopped_by} {where}; the same command goes on")
    signalled = stopped_by is not None and any(by_signal for _, by_signal in asked)
    return EXIT_REQUEUE if signalled and most_requeues() is not None else 0
