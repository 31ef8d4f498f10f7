"""One rank of an evaluation of made-up images: DATA RUN, on however many ranks."""

from __future__ import annotations

import sys
from pathlib import Path

from pipeline.engines.peers import ProcessPeers
from pipeline.engines.process import start_process, stop_process
from pipeline.evaluation.follow import evaluate_target
from pipeline.evaluation.job import EvaluationJob
from pipeline.evaluation.plan import Settings
from pipeline.evaluation.weights import ExtractorChoice
from tests.evaluation.worlds import SmoothSampler

METRICS = ("fid", "kid", "is", "pr", "dc", "swd", "msssim")


def main(data: str, run: str) -> None:
    process = start_process("cpu")
    settings = Settings(
        METRICS,
        count=30,
        seeds=2,
        batch_size=7,
        per_class=True,
        extractor=ExtractorChoice("tests.evaluation.worlds:CoarseExtractor"),
    )
    job = EvaluationJob(
        Path(data), settings, lambda s: SmoothSampler(s.spec, 0.2), print, ProcessPeers(process)
    )
    found = evaluate_target(job, Path(run), "newest", print)
    assert len(found) == (1 if process.is_first else 0)
    stop_process()


if __name__ == "__main__":
    main(*sys.argv[1:])
