"""Statistics of the real images: all of them, unflipped, computed once a data set and kept on disk."""

from __future__ import annotations

import time
from dataclasses import replace

import torch
from torch import Tensor

from pipeline.data.index import ShardIndex
from pipeline.data.reader import read_labels
from pipeline.data.stream import UnflippedReader
from pipeline.evaluation.cache import BUILDING, POLL_SECONDS, WAITING, StatisticsCache
from pipeline.evaluation.gathering import gather
from pipeline.evaluation.moments import FeatureMoments
from pipeline.evaluation.neighbours import neighbour_distances
from pipeline.evaluation.peers import Alone, Peers
from pipeline.evaluation.plan import Needs, Settings, real_needs
from pipeline.evaluation.statistics import Extractor, Statistics
from pipeline.evaluation.swd import Descriptors, Distances, split_distance
from pipeline.storage.claims import Claims


class Reference:
    """The reals as the metrics need them; an attribute is None unless some metric needs it, and everywhere
    but on the first process.

    moments, features: over all reals. around: their `neighbour_distances`. descriptors: swd's patches of the
    first reals (shards are shuffled when they are made). floor: swd between two halves of these. similarity:
    msssim between pairs of reals.

    Of many jobs that need the same statistics one builds them; the others wait, and one of them takes over
    if it dies.
    """

    def __init__(
        self,
        index: ShardIndex,
        settings: Settings,
        extractor: Extractor | None,
        cache: StatisticsCache,
        peers: Peers | None = None,
    ) -> None:
        self._index, self._settings, self._extractor, self._cache = index, settings, extractor, cache
        self._peers: Peers = Alone() if peers is None else peers
        self.needs = real_needs(settings, index.count)
        self._wants_around = not {"pr", "dc"}.isdisjoint(settings.metrics)
        self.moments: FeatureMoments | None = None
        self.features: Tensor | None = None
        self.around: Tensor | None = None
        self.descriptors: Descriptors | None = None
        self.floor: Distances | None = None
        self.similarity: float | None = None
        self.labels_here: list[int] | None = None
        self._build()

    @property
    def class_names(self) -> tuple[str, ...]:
        """By class number."""
        return self._index.classes

    def labels(self) -> list[int] | None:
        """The class of every real, in order, on every process; None if unlabelled."""
        if not self._index.classes:
            return None
        if self.labels_here is None:
            self.labels_here = self._peers.from_first(self._labels() if self._peers.rank == 0 else [])
        return self.labels_here

    def _labels(self) -> list[int]:
        found = self._cache.made(
            "labels",
            {"data": self._index.digest},
            lambda: {"labels": torch.tensor(read_labels(self._index))},
            claim="labels",
        )
        labels: list[int] = found["labels"].tolist()
        return labels

    def _build(self) -> None:
        """Takes what is on disk and makes the rest, alone among all jobs that would make it."""
        claims, told = Claims(self._cache.folder), False
        while True:
            claim, needs = None, None
            if self._peers.rank == 0:
                self._recall()
                claim = None if self._is_whole else claims.take(BUILDING)
                if claim is not None:
                    self._recall()  # whoever had the claim may just have ended
                needs = self._missing() if self._is_whole or claim is not None else None
                if needs is None and not told:
                    self._cache.report(WAITING)
                    told = True
            needs = self._peers.from_first(needs)
            if needs is not None:
                break
            if self._peers.rank == 0:
                time.sleep(POLL_SECONDS)
        try:
            self._gather(needs)
        finally:
            if claim is not None:
                claim.release()

    def _features_key(self) -> dict[str, str]:
        extractor = self._extractor
        return {
            "data": self._index.digest,
            "extractor": extractor.digest if extractor is not None else "",
            "resize": extractor.resize if extractor is not None else "",
        }

    def _floor_key(self) -> dict[str, str | int]:
        return {"data": self._index.digest, "count": self.needs.swd, "seed": self._settings.seed}

    def _similarity_key(self) -> dict[str, str | int]:
        return {"data": self._index.digest, "count": self.needs.similarity}

    def _recall(self) -> None:
        """Takes what is on disk."""
        cache, key = self._cache, self._features_key()
        if self.moments is None and self.needs.extracted and (found := cache.load("moments", key)):
            self.moments = FeatureMoments.from_tensors(found)
        if self.features is None and self.needs.features and (found := cache.load("features", key)):
            self.features = found["features"]
        if self.around is None and self._wants_around and (found := cache.load("neighbours", key)):
            self.around = found["distances"]
        if self.floor is None and self.needs.swd and (found := cache.load("swd-floor", self._floor_key())):
            sides = [int(side) for side in found["sides"]]
            self.floor = Distances(dict(zip(sides, found["distances"].tolist(), strict=True)))
        if (
            self.similarity is None
            and self.needs.similarity
            and (found := cache.load("msssim", self._similarity_key()))
        ):
            self.similarity = float(found["value"])

    def _missing(self) -> Needs:
        """What must still be gathered; swd's patches always, for they are large and quickly made."""
        features = self.needs.features and self.features is None
        return replace(
            self.needs,
            extracted=self.needs.extracted if features or self.moments is None else 0,
            features=features,
            similarity=self.needs.similarity if self.similarity is None else 0,
        )

    @property
    def _is_whole(self) -> bool:
        """Whether nothing is left to make that others could find on disk."""
        missing = self._missing()
        return not (
            missing.extracted
            or missing.similarity
            or (self.needs.swd and self.floor is None)
            or (self._wants_around and self.around is None)
        )

    def _gather(self, needs: Needs) -> None:
        peers, index = self._peers, self._index
        if needs.images:
            with UnflippedReader(index) as reader:
                gathered = gather(
                    needs,
                    index.spec,
                    self._extractor,
                    self._settings,
                    lambda numbers: reader.read(numbers)[0],
                    peers,
                    "reals",
                )
            if gathered is not None:
                self._keep(gathered)
        if peers.from_first(self._wants_around and self.around is None):
            self._measure_neighbours()

    def _keep(self, gathered: Statistics) -> None:
        if gathered.moments is not None:
            self.moments = gathered.moments
            self._cache.save("moments", self._features_key(), self.moments.tensors())
        if gathered.needs.features:
            self.features = gathered.features()
            self._cache.save("features", self._features_key(), {"features": self.features})
        if gathered.needs.similarity:
            self.similarity = float(gathered.similarities().mean())
            value = torch.tensor(self.similarity, dtype=torch.float64)
            self._cache.save("msssim", self._similarity_key(), {"value": value})
        self.descriptors = gathered.descriptors
        if self.descriptors is not None and self.floor is None:
            self._measure_floor(self.descriptors)

    def _measure_floor(self, descriptors: Descriptors) -> None:
        self.floor = split_distance(descriptors, self._settings.seed, self._settings.device)
        tensors = {
            "sides": torch.tensor(list(self.floor.levels)),
            "distances": torch.tensor(list(self.floor.levels.values()), dtype=torch.float64),
        }
        self._cache.save("swd-floor", self._floor_key(), tensors)

    def _measure_neighbours(self) -> None:
        features = self._peers.from_first(self.features)
        assert features is not None, "gathered or recalled before"
        found = neighbour_distances(features, self._peers, self._settings.device)
        if self._peers.rank == 0:
            self.around = found
            self._cache.save("neighbours", self._features_key(), {"distances": found})
