"""One rank of an evaluation of made-up images, and of a data set: DATA RUN SET, on however many ranks."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from pipeline.engines.peers import ProcessPeers
from pipeline.engines.process import start_process, stop_process
from pipeline.evaluation.arithmetic import classifier
from pipeline.evaluation.features.weights import ExtractorChoice
from pipeline.evaluation.follow import evaluate_target
from pipeline.evaluation.job import EvaluationJob
from pipeline.evaluation.settings import Settings
from tests.evaluation.worlds import SmoothSampler

METRICS = ("fid", "kid", "is", "pr", "dc", "cmmd", "swd", "msssim", "class_accuracy")


def main(data: str, run: str, measured: str) -> None:
    classifier.STEPS = 8  # whatever it has learnt, all see the same
    process = start_process("cpu")
    peers = ProcessPeers(process)
    settings = Settings(
        METRICS,
        count=30,
        seeds=2,
        batch_size=7,
        per_class=True,
        extractor=ExtractorChoice("tests.evaluation.worlds:CoarseExtractor"),
    )
    for target, asked in ((run, settings), (measured, replace(settings, seeds=1, count=None))):
        job = EvaluationJob(Path(data), asked, lambda s: SmoothSampler(s.spec, 0.2), print, peers)
        found = evaluate_target(job, Path(target), "newest", print)
        assert len(found) == (1 if process.is_first else 0)
    stop_process()


if __name__ == "__main__":
    main(*sys.argv[1:])
