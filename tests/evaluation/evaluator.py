"""One evaluator of a run, as its own process: DATA RUN SECONDS-A-SNAPSHOT [HANG-AT]. Says what it draws.

HANG-AT: images seen of the snapshot at which it stops for ever, claim in hand, to be killed.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from pipeline.contracts import Sampler
from pipeline.evaluation.follow import evaluate_target
from pipeline.evaluation.job import EvaluationJob
from pipeline.evaluation.settings import Settings
from pipeline.storage.snapshots import Snapshot
from tests.evaluation.worlds import SmoothSampler


def main(data: str, run: str, seconds: str, hang_at: str = "-1") -> None:
    def sampler(snapshot: Snapshot) -> Sampler:
        print(f"draws {snapshot.images_seen}", file=sys.stderr, flush=True)
        time.sleep(1000 if snapshot.images_seen == int(hang_at) else float(seconds))
        return SmoothSampler(snapshot.spec, rough=0.5 / (1 + snapshot.images_seen))

    job = EvaluationJob(Path(data), Settings(("msssim", "swd"), count=10), sampler, print)
    evaluate_target(job, Path(run), "watch", lambda _: None, poll_seconds=0.2)


if __name__ == "__main__":
    main(*sys.argv[1:])
