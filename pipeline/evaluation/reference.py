"""What is known about the real images: computed from all of them, unflipped, once for each data set, and
cached on disk."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, TypeVar

import torch

from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.reader import read_labels
from pipeline.evaluation.cache import BUILDING, POLL_SECONDS, WAITING, StatisticsCache
from pipeline.evaluation.features.extractor import Extractor
from pipeline.evaluation.gathering import gather
from pipeline.evaluation.metrics.needs import Fact, Needs, Statistic, Tensors
from pipeline.evaluation.peers import Alone, Peers
from pipeline.evaluation.settings import Settings
from pipeline.evaluation.sources import stored_images
from pipeline.evaluation.statistics import Statistics
from pipeline.storage.claims import Claims

T = TypeVar("T")


class Reference:
    """The reals, as the metrics need them, on the first process.

    needs: what must be known about them. peers: all processes of the evaluation; each of them makes a
    Reference. device: where to compute.

    If several jobs need the same facts, one makes them and the others wait; if it dies, one of them takes
    over.
    """

    def __init__(
        self,
        index: ShardIndex,
        needs: Needs,
        settings: Settings,
        extractors: Mapping[str, Extractor],
        cache: StatisticsCache,
        peers: Peers | None = None,
    ) -> None:
        self._index, self._settings, self._extractors, self._cache = index, settings, extractors, cache
        self.peers: Peers = Alone() if peers is None else peers
        self.needs, self.device = needs, settings.device
        self._known: dict[Fact, Tensors] = {}
        self._gathered: Statistics | None = None
        self._labels_here: list[int] | None = None
        self._build()

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, by class number."""
        return self._index.classes

    def fact(self, fact: Fact) -> Tensors:
        """One of the facts in `needs.facts`. For the first process only."""
        return self._known[fact]

    def gathered(self, statistic: Statistic[T]) -> T:
        """One of the statistics in `needs.reals`. For the first process only."""
        assert self._gathered is not None, "the first process gathers"
        return self._gathered.of(statistic)

    def labels(self) -> list[int] | None:
        """The class number of every real, in order, on every process; None if the reals have no labels."""
        if not self._index.classes:
            return None
        if self._labels_here is None:
            self._labels_here = self.peers.from_first(self.labels_here() if self.peers.rank == 0 else [])
        return self._labels_here

    def labels_here(self) -> list[int]:
        """Like `labels`, for labelled reals, without communicating with other processes."""
        if self._labels_here is not None:
            return self._labels_here
        tensors = self._cache.made(
            "labels",
            {"data": self._index.digest},
            lambda: {"labels": torch.tensor(read_labels(self._index))},
            claim="labels",
        )
        labels: list[int] = tensors["labels"].tolist()
        return labels

    def _build(self) -> None:
        """Loads what is cached and makes the rest, while no other job does."""
        claims, told = Claims(self._cache.folder), False
        while True:
            claim, missing = None, None
            if self.peers.rank == 0:
                self._recall()
                claim = claims.take(BUILDING) if self._missing() else None
                if claim is not None:
                    self._recall()  # the claim's last holder may just have finished
                left = self._missing()
                missing = left if claim is not None or not left else None
                if missing is None and not told:
                    self._cache.report(WAITING)
                    told = True
            missing = self.peers.from_first(missing)
            if missing is not None:
                break
            if self.peers.rank == 0:
                time.sleep(POLL_SECONDS)
        try:
            self._make(missing)
        finally:
            if claim is not None:
                claim.release()

    def _key(self, fact: Fact) -> dict[str, Any]:
        return {"data": self._index.digest, **fact.key(self._extractors)}

    def _recall(self) -> None:
        """Loads the facts that are cached."""
        for fact in self._missing():
            tensors = self._cache.load(fact.kind, self._key(fact))
            if tensors is not None:
                self._known[fact] = tensors

    def _missing(self) -> list[Fact]:
        """The facts that are not known yet, in an order in which they can be made."""
        return [fact for fact in self.needs.facts if fact not in self._known]

    def _make(self, missing: list[Fact]) -> None:
        peers, index = self.peers, self._index
        gathered = tuple(
            dict.fromkeys((*(one for fact in missing for one in fact.statistics), *self.needs.reals))
        )
        if gathered:
            with stored_images(index) as images:
                self._gathered = gather(
                    gathered, index.spec, self._extractors, self._settings, images, peers, "reals"
                )
        for fact in missing:
            if fact.shared or peers.rank == 0:
                tensors = fact.make(self)
                if peers.rank == 0:
                    self._known[fact] = tensors
                    self._cache.save(fact.kind, self._key(fact), tensors)
        if self._gathered is not None:
            self._gathered.keep(self.needs.reals)
