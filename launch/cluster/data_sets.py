"""How each data set that is being prepared stands, from its folder and the queue alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from launch.cluster.queue import Queue
from launch.cluster.run_states import folders_below
from pipeline.data.shards.blocks import PLAN, Plan, recorded_blocks
from pipeline.errors import Damaged
from pipeline.reading import read_as
from pipeline.words import counted


@dataclass
class DataSetState:
    """A data set in the making. blocks: of how many it has become; made: of these, those that are finished.
    jobs: those in the queue that make it."""

    folder: str
    blocks: int
    made: int
    images: int
    jobs: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        at_it = ", ".join(self.jobs) or "no job in the queue"
        blocks = counted(self.blocks, "block")
        return f"{self.folder}: data set of {self.images:,} pictures, {self.made} of {blocks} made; {at_it}"


def data_set_states(folder: Path, queue: Queue) -> list[DataSetState]:
    """Those in `folder` and below it that are begun and not complete."""
    states = []
    for root in folders_below(folder, (PLAN,)):
        try:
            plan = read_as(Plan, root / PLAN)
        except (FileNotFoundError, Damaged):
            continue  # completed meanwhile, or not ours
        made = len(recorded_blocks(root))
        jobs = [str(job) for job in queue.of(root)]
        states.append(DataSetState(str(root), plan.blocks, made, plan.numbers, jobs))
    return states
