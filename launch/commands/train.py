"""`hrgan train`: a generator, from shards."""

from __future__ import annotations

from launch.options.declared import takes_options
from launch.options.train import TrainOptions
from pipeline.words import LOADING_SECONDS, patiently


@takes_options
def train(options: TrainOptions) -> int:
    """Train a generator, or continue a run.

    The same command again continues where the run has stopped. SIGTERM, SIGUSR1, SIGUSR2 and Ctrl-C save and
    exit with 0; with HRGAN_REQUEUE set, as in a job that may go back into the queue, with 75.

    \b
    Examples:
      hrgan train configs/quickstart.yaml --run out/quickstart/run
      hrgan train configs/stylegan2-256.yaml data.path=shards batch.size=32
      hrgan train configs/stylegan2-1024.yaml data.path=shards --processes 8
    """
    from launch.cluster.srun import join_srun
    from pipeline.config.load import load_config

    # Wrong settings are refused before torch is imported, which takes seconds.
    settings = load_config(options.config, options.overrides)
    join_srun()
    with patiently("loading torch", seconds=LOADING_SECONDS):
        from launch.assembly.training import train as start

    return start(settings, options.folder, options.processes)
