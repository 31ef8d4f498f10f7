"""Makes the blocks of a data set, together with all other processes that do the same."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from pipeline.data.preparing.records import Blocks, HeldBlock
from pipeline.data.preparing.render import Recipe, Rendered, rendered
from pipeline.data.shards.rows import Shard
from pipeline.data.shards.sink import checked_members
from pipeline.data.sources.source import Source
from pipeline.errors import UserError
from pipeline.words import counted, printable

_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Work:
    """What is to be made. order: the numbers of the pictures, [N]. labels: the class number of each picture
    of the source, if it has classes. strict: a picture that cannot be read ends the work. sized: their size
    was asked for."""

    source: Source
    recipe: Recipe
    order: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int32] | None
    strict: bool
    sized: bool


class Making:
    """Takes blocks, has their pictures rendered ahead, and writes them, until the data set is complete."""

    def __init__(self, work: Work, blocks: Blocks, say: Callable[[str], object]) -> None:
        self._work, self._blocks, self._say = work, blocks, say
        self._open: deque[HeldBlock] = deque()
        self._waits = False

    def run(self, workers: int, progress: bool, finish: Callable[[], Sequence[Shard]]) -> None:
        """Returns when the index is complete, whichever process completed it. `finish` gives its shards, once
        all blocks are made."""
        bar = tqdm(total=len(self._work.order), unit="image", disable=not progress, smoothing=0.05)
        bar.update(self._settled())
        with bar, self._blocks.unless_complete():
            while not self._blocks.complete:
                self._make(workers, bar)
                if self._blocks.finished:
                    self._blocks.finish(finish)
                else:
                    self._wait()
        self._blocks.tidy()

    def _make(self, workers: int, bar: tqdm[Any]) -> None:
        """Makes blocks until none is left to take."""
        work = self._work
        try:
            places = (place for block in self._taken() for place in block.numbers)
            numbers = (int(work.order[place]) for place in places)
            for result in rendered(work.source, work.recipe, numbers, workers):
                finished = self._take(result)
                bar.update()
                if finished:  # shows what other processes have made as well
                    bar.n = self._settled()
                    bar.refresh()
        except UserError:
            self._let_go()
            if not self._blocks.recorded():
                self._blocks.forget()
            raise
        finally:
            self._let_go()

    def _let_go(self) -> None:
        while self._open:
            self._open.pop().release()

    def _taken(self) -> Iterator[HeldBlock]:
        while (block := self._blocks.take()) is not None:
            self._open.append(block)
            yield block

    def _take(self, result: Rendered) -> bool:
        """Takes the rendered picture whose turn it is in the first open block, and says whether that was the
        block's last."""
        block = self._open[0]
        place = next(block.places)
        number = int(self._work.order[place])
        name = self._work.source.listing.names[number]
        if result.data is None and result.wanted and self._work.strict:
            raise UserError(f"{printable(name)}: {result.reason}; mend or remove it, or skip unreadable")
        # The key is the place in the shuffled order, whatever was left out before it.
        key = f"{place:08d}"
        if result.data is None:
            block.leave_out(name, result.reason)
        else:
            members = checked_members(self._work.recipe.fields, key, result.extra)
            label = None if self._work.labels is None else int(self._work.labels[number])
            block.add(key, result, self._work.recipe.target.format, label, name, members)
        if place < block.numbers.stop - 1:
            return False
        block.finish()
        self._open.popleft()
        return True

    def _settled(self) -> int:
        """How many pictures have had their turn, in any process, in blocks that are finished."""
        return sum(len(self._blocks.numbers(block)) for block in self._blocks.recorded())

    def _wait(self) -> None:
        if not self._waits:
            left = self._blocks.count - len(self._blocks.recorded())
            self._say(f"waits for {counted(left, 'block')} that other processes make")
            self._waits = True
        time.sleep(_POLL_SECONDS)
