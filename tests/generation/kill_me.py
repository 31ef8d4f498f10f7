"""Generates slowly into the folder given, to be killed: python tests/generation/kill_me.py RUN OUT BATCH."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pipeline.contracts import Fakes
from pipeline.generation.generate import generate_shards
from pipeline.generation.request import Request
from pipeline.storage.snapshots import open_snapshot
from tests.evaluation.worlds import SmoothSampler

COUNT, SHARD = 60, 7


class SlowSampler(SmoothSampler):
    def draw(self, seeds: Sequence[int], **options: object) -> Fakes:
        time.sleep(0.03 * len(seeds))
        return super().draw(seeds, **options)


if __name__ == "__main__":
    snapshot = open_snapshot(sys.argv[1])
    request = Request(snapshot, COUNT, seed=5, kind="jpg", batch_size=int(sys.argv[3]))
    generate_shards(request, lambda: SlowSampler(snapshot.spec), Path(sys.argv[2]), shard_size=SHARD)
