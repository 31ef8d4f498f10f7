"""`hrgan submit train | evaluate | generate | prepare | encode`: commands as jobs of a SLURM cluster."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import typer

from launch.options.declared import takes_options
from launch.options.submit import (
    SubmitEvaluateOptions,
    SubmitOtherOptions,
    SubmitPrepareOptions,
    SubmitTrainOptions,
)
from pipeline.errors import UserError

submit = typer.Typer(
    name="submit",
    help="""Run a command as a job of a SLURM cluster.

    A cluster file, such as configs/cluster/example.yaml, says what jobs ask for. The command is checked here,
    before anything is submitted. hrgan runs shows what becomes of it.

    \b
    Examples:
      hrgan submit train configs/stylegan2-256.yaml data.path=shards --cluster configs/cluster/example.yaml
      hrgan submit evaluate runs/faces --data shards --after 17 --cluster configs/cluster/example.yaml
      hrgan submit generate runs/faces more --count 50000 --cluster configs/cluster/example.yaml
    """,
    rich_markup_mode=None,
)

# Options that are not of this command are the other's.
_PASS_ON = {"ignore_unknown_options": True}


@submit.command(no_args_is_help=False)
@takes_options
def train(options: SubmitTrainOptions) -> int:
    """Train as a job, or as an array of jobs.

    A job that SLURM stops, at its time limit or in favour of another job, saves, goes back into the queue and
    continues from there.

    \b
    Examples:
      hrgan submit train configs/quickstart.yaml --cluster configs/cluster/sandbox.yaml --nodes 2
      hrgan submit train configs/stylegan2-256.yaml data.path=shards --run runs/faces --evaluate swd,msssim --cluster configs/cluster/example.yaml
      hrgan submit train configs/stylegan2-256.yaml data.path=shards --sweep family.r1_gamma=1,2,5 --cluster configs/cluster/example.yaml --dry-run
    """  # noqa: E501  (a command that is copied stands in one line)
    _submitting().submit_training(options)
    return 0


@submit.command(no_args_is_help=False, context_settings=_PASS_ON)
@takes_options
def evaluate(options: SubmitEvaluateOptions) -> int:
    """Evaluate as a job, or as an array of jobs, with all arguments of hrgan evaluate.

    With --watch the job follows a training, and several such jobs share its snapshots.

    \b
    Examples:
      hrgan submit evaluate runs/faces --data shards --metrics swd --cluster configs/cluster/example.yaml
      hrgan submit evaluate runs/faces --data shards --watch --cluster configs/cluster/example.yaml
      hrgan submit evaluate runs/faces --data shards --each --cluster configs/cluster/example.yaml
      hrgan submit evaluate runs/faces --data shards --all --after 17 --cluster configs/cluster/example.yaml
    """
    _submitting().submit_evaluation(options)
    return 0


@submit.command(no_args_is_help=False, context_settings=_PASS_ON)
@takes_options
def generate(options: SubmitOtherOptions) -> int:
    """Generate as a job, with all arguments of hrgan generate.

    \b
    Examples:
      hrgan submit generate runs/faces more --count 50000 --cluster configs/cluster/example.yaml
    """
    _submitting().submit_generation(options)
    return 0


@submit.command(no_args_is_help=False, context_settings=_PASS_ON)
@takes_options
def prepare(options: SubmitPrepareOptions) -> int:
    """Prepare a data set as an array of jobs, with all arguments of hrgan prepare.

    The jobs share the work through OUT and need not run at the same time: any of them makes what the others
    leave, and the last one completes the data set.

    \b
    Examples:
      hrgan submit prepare photos shards --resolution 256 --tasks 8 --cluster configs/cluster/example.yaml
    """
    _submitting().submit_preparation(options)
    return 0


@submit.command(no_args_is_help=False, context_settings=_PASS_ON)
@takes_options
def encode(options: SubmitOtherOptions) -> int:
    """Encode a data set as a job, with all arguments of hrgan encode.

    \b
    Examples:
      hrgan submit encode shards latents --codec runs/autoencoder --cluster configs/cluster/example.yaml
    """
    _submitting().submit_encoding(options)
    return 0


def _submitting() -> ModuleType:
    if importlib.util.find_spec("submitit") is None:
        raise UserError("hrgan submit: submitit is not installed: pip install 'hrgan[slurm]'")
    from launch.assembly import submitting

    return submitting
