"""Statistics of the real images: all of them, unflipped, computed once a data set and kept on disk."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from tqdm import tqdm

from pipeline.data.index import ShardIndex
from pipeline.data.reader import ShardReader
from pipeline.data.samples import Damage
from pipeline.data.stream import read_uint8
from pipeline.errors import UserError
from pipeline.evaluation.cache import StatisticsCache
from pipeline.evaluation.moments import FeatureMoments
from pipeline.evaluation.plan import Needs, Settings, real_needs
from pipeline.evaluation.statistics import Extractor, Statistics
from pipeline.evaluation.swd import Descriptors, Distances, split_distance


class Reference:
    """The reals as the metrics need them; an attribute is None unless some metric needs it.

    moments, features: of Inception, over all reals. descriptors: swd's patches of the first reals (shards
    are shuffled when they are made). floor: swd between two halves of these. similarity: msssim between
    pairs of reals.
    """

    def __init__(
        self,
        index: ShardIndex,
        settings: Settings,
        extractor: Extractor | None,
        cache: StatisticsCache,
    ) -> None:
        self._index, self._settings, self._extractor, self._cache = index, settings, extractor, cache
        self.needs = real_needs(settings, index.count)
        self.moments: FeatureMoments | None = None
        self.features: Tensor | None = None
        self.descriptors: Descriptors | None = None
        self.floor: Distances | None = None
        self.similarity: float | None = None
        self._recall()
        self._gather(self._missing())

    def labels(self) -> list[int] | None:
        """The class of every real, in order; None if unlabelled."""
        if not self._index.classes:
            return None
        key = {"data": self._index.digest}
        found = self._cache.load("labels", key)
        if found is None:
            found = {"labels": torch.tensor(_read_labels(self._index))}
            self._cache.save("labels", key, found)
        labels: list[int] = found["labels"].tolist()
        return labels

    def _inception_key(self) -> dict[str, str]:
        digest = self._extractor.digest if self._extractor is not None else ""
        return {"data": self._index.digest, "extractor": digest}

    def _floor_key(self) -> dict[str, str | int]:
        return {"data": self._index.digest, "count": self.needs.swd, "seed": self._settings.seed}

    def _similarity_key(self) -> dict[str, str | int]:
        return {"data": self._index.digest, "count": self.needs.similarity}

    def _recall(self) -> None:
        """Takes what is on disk."""
        if self.needs.inception and (found := self._cache.load("moments", self._inception_key())):
            self.moments = FeatureMoments.from_tensors(found)
        if self.needs.features and (found := self._cache.load("features", self._inception_key())):
            self.features = found["features"]
        if self.needs.swd and (found := self._cache.load("swd-floor", self._floor_key())):
            sides = [int(side) for side in found["sides"]]
            self.floor = Distances(dict(zip(sides, found["distances"].tolist(), strict=True)))
        if self.needs.similarity and (found := self._cache.load("msssim", self._similarity_key())):
            self.similarity = float(found["value"])

    def _missing(self) -> Needs:
        """What must still be gathered; swd's patches always, for they are large and quickly made."""
        features = self.needs.features and self.features is None
        return replace(
            self.needs,
            inception=self.needs.inception if features or self.moments is None else 0,
            features=features,
            similarity=self.needs.similarity if self.similarity is None else 0,
        )

    def _gather(self, needs: Needs) -> None:
        if not needs.images:
            return
        settings = self._settings
        gathered = Statistics(needs, self._index.spec, self._extractor, settings.seed, settings.device)
        with tqdm(total=needs.images, desc="reals", unit="img", disable=None) as bar:
            for images, _, _ in read_uint8(self._index, 0, needs.images, settings.batch_size):
                gathered.add(images)
                bar.update(len(images))
        self._keep(gathered)

    def _keep(self, gathered: Statistics) -> None:
        if gathered.moments is not None:
            self.moments = gathered.moments
            self._cache.save("moments", self._inception_key(), self.moments.tensors())
        if gathered.needs.features:
            self.features = gathered.features()
            self._cache.save("features", self._inception_key(), {"features": self.features})
        if gathered.similarity is not None:
            self.similarity = gathered.similarity.value
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


def _read_labels(index: ShardIndex) -> list[int]:
    labels: list[int] = []
    with ShardReader(index) as reader:
        try:
            for number, shard in enumerate(index.shards):
                for member in range(shard.count):
                    label = reader.read(number, member).label
                    assert label is not None, "the reader refuses a sample without"
                    labels.append(label)
        except Damage as damage:
            raise UserError(f"{damage}; restore it or make the data set again") from damage
    return labels
