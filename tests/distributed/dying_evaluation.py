"""One rank of an evaluation of which rank 1 dies, or stops for ever, at its first image: DATA RUN SIGNAL."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from launch.assembly.group import Group, run_as_group
from pipeline.contracts import Process, Sampler
from pipeline.engines.peers import ProcessPeers
from pipeline.errors import RunFailed
from pipeline.evaluation.follow import evaluate_target
from pipeline.evaluation.job import EvaluationJob
from pipeline.evaluation.settings import Settings
from pipeline.storage.snapshots import Snapshot
from tests.evaluation.worlds import SmoothSampler


def evaluate(data: str, run: str, number: str) -> int:
    def work(process: Process, peers: ProcessPeers) -> None:
        def sampler(snapshot: Snapshot) -> Sampler:
            print("draws", flush=True)
            if process.rank == 1:
                os.kill(os.getpid(), int(number))
            return SmoothSampler(snapshot.spec)

        job = EvaluationJob(Path(data), Settings(("msssim",), count=40, batch_size=2), sampler, print, peers)
        evaluate_target(job, Path(run), "newest", print)

    return run_as_group(Group(Path(run), "the same command goes on", 5.0, 1.0), "cpu", work)


if __name__ == "__main__":
    try:
        sys.exit(evaluate(*sys.argv[1:]))
    except RunFailed as error:  # as the command line does
        sys.exit(f"hrgan: error: {error}")
