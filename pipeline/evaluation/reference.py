"""Statistics of the real images: all of them, unflipped, computed once a data set and kept on disk."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.reader import read_labels
from pipeline.evaluation.cache import BUILDING, POLL_SECONDS, WAITING, StatisticsCache
from pipeline.evaluation.gathering import gather
from pipeline.evaluation.moments import FeatureMoments
from pipeline.evaluation.names import NEIGHBOUR_METRICS
from pipeline.evaluation.neighbours import neighbour_distances
from pipeline.evaluation.peers import Alone, Peers
from pipeline.evaluation.plan import Extraction, Needs, Settings
from pipeline.evaluation.sources import stored_images
from pipeline.evaluation.statistics import Extracted, Extractor, Statistics
from pipeline.evaluation.swd import Descriptors, Distances, split_distance
from pipeline.storage.claims import Claims


@dataclass
class Known:
    """The reals by one extractor: moments and features over all of them, and their `neighbour_distances`."""

    moments: FeatureMoments | None = None
    features: Tensor | None = None
    around: Tensor | None = None


class Reference:
    """The reals as the metrics need them; an attribute is None unless some metric needs it, and everywhere
    but on the first process.

    needs: what is to be known of them. by: what is known by each extractor. descriptors: swd's patches of the
    first reals (shards are shuffled when they are made). floor: swd between two halves of these. similarity:
    msssim between pairs of reals.

    Of many jobs that need the same statistics one builds them; the others wait, and one of them takes over
    if it dies.
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
        self._peers: Peers = Alone() if peers is None else peers
        self.needs = needs
        self._wants_around = tuple(
            name for name, some in settings.by_extractor().items() if not NEIGHBOUR_METRICS.isdisjoint(some)
        )
        self.by = {name: Known() for name in self.needs.extracted}
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

    def _features_key(self, name: str) -> dict[str, str]:
        extractor = self._extractors[name]
        return {"data": self._index.digest, "extractor": extractor.digest, "resize": extractor.resize}

    def _floor_key(self) -> dict[str, str | int]:
        return {"data": self._index.digest, "count": self.needs.swd, "seed": self._settings.seed}

    def _similarity_key(self) -> dict[str, str | int]:
        return {"data": self._index.digest, "count": self.needs.similarity}

    def _recall(self) -> None:
        """Takes what is on disk."""
        cache = self._cache
        for name, wanted in self.needs.extracted.items():
            known, key = self.by[name], self._features_key(name)
            if known.moments is None and wanted.moments and (found := cache.load("moments", key)):
                known.moments = FeatureMoments.from_tensors(found)
            if known.features is None and wanted.features and (found := cache.load("features", key)):
                known.features = found["features"]
            wants_around = name in self._wants_around
            if known.around is None and wants_around and (found := cache.load("neighbours", key)):
                known.around = found["distances"]
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
        extracted = {
            name: Extraction(
                wanted.images,
                moments=wanted.moments and self.by[name].moments is None,
                features=wanted.features and self.by[name].features is None,
            )
            for name, wanted in self.needs.extracted.items()
        }
        return replace(
            self.needs,
            extracted={name: left for name, left in extracted.items() if left.moments or left.features},
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
            or self._without_around()
        )

    def _without_around(self) -> list[str]:
        """Extractors by which neighbours are still to be found."""
        return [name for name in self._wants_around if self.by[name].around is None]

    def _gather(self, needs: Needs) -> None:
        peers, index = self._peers, self._index
        if needs.images:
            with stored_images(index) as images:
                gathered = gather(needs, index.spec, self._extractors, self._settings, images, peers, "reals")
            if gathered is not None:
                self._keep(gathered)
        for name in peers.from_first(self._without_around()):
            self._measure_neighbours(name)

    def _keep(self, gathered: Statistics) -> None:
        for name, extracted in gathered.extracted.items():
            self._keep_extracted(name, extracted, gathered.needs.extracted[name])
        if gathered.needs.similarity:
            self.similarity = float(gathered.similarities().mean())
            value = torch.tensor(self.similarity, dtype=torch.float64)
            self._cache.save("msssim", self._similarity_key(), {"value": value})
        self.descriptors = gathered.descriptors
        if self.descriptors is not None and self.floor is None:
            self._measure_floor(self.descriptors)

    def _keep_extracted(self, name: str, extracted: Extracted, wanted: Extraction) -> None:
        known, key = self.by[name], self._features_key(name)
        if extracted.moments is not None:
            known.moments = extracted.moments
            self._cache.save("moments", key, known.moments.tensors())
        if wanted.features:
            known.features = extracted.features()
            self._cache.save("features", key, {"features": known.features})

    def _measure_floor(self, descriptors: Descriptors) -> None:
        self.floor = split_distance(descriptors, self._settings.seed, self._settings.device)
        tensors = {
            "sides": torch.tensor(list(self.floor.levels)),
            "distances": torch.tensor(list(self.floor.levels.values()), dtype=torch.float64),
        }
        self._cache.save("swd-floor", self._floor_key(), tensors)

    def _measure_neighbours(self, name: str) -> None:
        features = self._peers.from_first(self.by[name].features)
        assert features is not None, "gathered or recalled before"
        found = neighbour_distances(features, self._peers, self._settings.device)
        if self._peers.rank == 0:
            self.by[name].around = found
            self._cache.save("neighbours", self._features_key(name), {"distances": found})
