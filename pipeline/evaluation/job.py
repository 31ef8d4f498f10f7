"""The evaluation job: snapshots in, result files, TensorBoard scalars and a table out.

It reads what training has published and never touches training itself. Any number of processes give the same
figures; the first of them writes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from pipeline.contracts import ImageSpec, Sampler
from pipeline.data.index import ShardIndex
from pipeline.errors import UserError
from pipeline.evaluation.best import can_rank
from pipeline.evaluation.board import write_scalars
from pipeline.evaluation.cache import StatisticsCache, cache_folder
from pipeline.evaluation.clouds import show_clouds, wants_clouds
from pipeline.evaluation.extractors import make_extractor
from pipeline.evaluation.gathering import gather
from pipeline.evaluation.lpips import Perceptual
from pipeline.evaluation.measure import check_size, how_measured, joined, measure
from pipeline.evaluation.paths import Steps, path_length
from pipeline.evaluation.peers import Alone, Peers, blocks, in_order
from pipeline.evaluation.plan import (
    FEATURE_METRICS,
    PATH_METRICS,
    SEED_STRIDE,
    Settings,
    check_count,
    check_settings,
    fake_needs,
)
from pipeline.evaluation.reference import Reference
from pipeline.evaluation.results import Result, add_metrics, read_result, result_path, run_of
from pipeline.float32 import full_float32
from pipeline.latents import LatentSpace, StyledSpace
from pipeline.randomness import derive_seed
from pipeline.storage.pictures import to_uint8
from pipeline.storage.snapshots import Snapshot

MakeSampler = Callable[[Snapshot], Sampler]
Report = Callable[[str], None]


class EvaluationJob:
    """Evaluates snapshots against one data set with one group of settings.

    make_sampler: turns a snapshot into what draws images from it. peers: processes that share the work; every
    one of them makes the same job and calls `evaluate` with the same snapshots. The reals are looked at once,
    when the first snapshot needs them. From its making on, float32 is computed in full in this process.
    """

    def __init__(
        self,
        data: Path,
        settings: Settings,
        make_sampler: MakeSampler,
        report: Report,
        peers: Peers | None = None,
    ) -> None:
        full_float32()
        self._settings, self._make_sampler, self._report = settings, make_sampler, report
        self.peers: Peers = Alone() if peers is None else peers
        self._index = ShardIndex.read(data)
        where = str(self._index.root)
        check_count(settings.count, self._index.count, where)
        check_size(settings.metrics, self._index.spec, where, crop=settings.paths.crop)
        self._needs = fake_needs(settings, self._index.count)
        self._extractor = make_extractor(settings) if settings.needs_extractor else None
        if "is" in settings.metrics and self._extractor is not None and not self._extractor.has_logits:
            raise UserError(
                f"--metrics is: the extractor {self._extractor.name} gives no classes; "
                "take is from the list, or --extractor inception"
            )
        self._reference: Reference | None = None
        self._perceptual: Perceptual | None = None
        self._made: tuple[str, Sampler] | None = None

    def evaluate(self, snapshot: Snapshot) -> Result | None:
        """The snapshot's result, complete with the settings' metrics; measures what is not there yet. None
        but on the first process."""
        self._check(snapshot)
        first = self.peers.rank == 0
        missing = self.peers.from_first(self.missing(snapshot) if first else ())
        result = read_result(result_path(snapshot)) if first else None
        if missing:
            figures = self._measure(snapshot, missing)
            if first:
                result = add_metrics(snapshot, figures, self._data(), self._report)
        if result is not None:
            self._show(snapshot, result, bool(missing))
        return result

    @property
    def ranking(self) -> str | None:
        """The metric that says which snapshot is best: the first that can; None if none can."""
        names = map(self._name, self._settings.metrics)
        return next((name for name in names if can_rank(name)), None)

    def missing(self, snapshot: Snapshot) -> tuple[str, ...]:
        """Metrics that have not been measured on this snapshot in this way."""
        result = read_result(result_path(snapshot))
        if result is None or result.snapshot != snapshot.digest:
            return self._settings.metrics
        return tuple(
            name for name in self._settings.metrics if not result.holds(self._name(name), self._how(name))
        )

    def _name(self, metric: str) -> str:
        """In results: figures of other extractors than Inception have names of their own."""
        extractor = self._extractor
        if metric not in FEATURE_METRICS or extractor is None or extractor.name == "inception":
            return metric
        return f"{metric}-{extractor.name}"

    def _how(self, metric: str) -> dict[str, Any]:
        return how_measured(metric, self._needs, self._index.digest, self._extractor, self._settings)

    def _check(self, snapshot: Snapshot) -> None:
        ours, theirs = snapshot.spec, self._index.spec
        where = f"{self._index.root}: images are {_shape(theirs)}, but {snapshot.folder} makes {_shape(ours)}"
        if _shape(ours) != _shape(theirs):
            raise UserError(f"{where}; they must be equal: prepare the data at {_shape(ours)}")
        if ours.classes and theirs.classes and snapshot.classes != self._index.classes:
            raise UserError(
                f"{self._index.root}: its {theirs.classes} classes are not the {ours.classes} that "
                f"{snapshot.folder} was trained with; they must have the same names in the same order"
            )
        check_settings(self._settings, bool(ours.classes and theirs.classes), str(self._index.root))

    def _reals(self, results: Path) -> Reference:
        if self._reference is None:
            cache = StatisticsCache(cache_folder(self._index.root, results), self._report)
            self._reference = Reference(self._index, self._settings, self._extractor, cache, self.peers)
        return self._reference

    def _measure(self, snapshot: Snapshot, missing: tuple[str, ...]) -> dict[str, dict[str, Any]]:
        """The figures by metric, on the first process."""
        settings = replace(self._settings, metrics=missing)
        reference = self._reals(result_path(snapshot).parent)
        sampler = self._sampler(snapshot)
        sets = [
            self._measure_set(snapshot, sampler, reference, settings, number)
            for number in range(settings.seeds)
        ]
        if self.peers.rank != 0:
            return {}
        return {
            self._name(name): {**joined([figures[name] for figures in sets]), **self._how(name)}
            for name in missing
        }

    def _measure_set(
        self, snapshot: Snapshot, sampler: Sampler, reference: Reference, settings: Settings, number: int
    ) -> dict[str, dict[str, Any]]:
        """The figures of one set of fakes, whose seeds begin at `number` strides."""
        labels = reference.labels() if snapshot.spec.classes else None
        needs = fake_needs(settings, self._index.count)
        origin = number * SEED_STRIDE
        title = f"fakes, {snapshot.age}"
        fakes = gather(
            needs,
            self._index.spec,
            self._extractor,
            settings,
            lambda places: draw_fakes(sampler, _shifted(places, origin), labels),
            self.peers,
            title,
        )
        classes = classes_of(range(origin, origin + needs.extracted), labels)
        figures = measure(settings.metrics, fakes, classes, reference, settings, self.peers)
        for metric in sorted(PATH_METRICS & set(settings.metrics)):
            figures[metric] = self._measure_paths(
                metric, sampler, range(origin, origin + needs.paths), labels
            )
        return figures

    def _measure_paths(
        self, metric: str, sampler: Sampler, seeds: range, labels: list[int] | None
    ) -> dict[str, Any]:
        settings, which = self._settings, metric.removeprefix("ppl-")
        if not isinstance(sampler, StyledSpace if which == "w" else LatentSpace):
            allowed = "; allowed: ppl-z" if isinstance(sampler, LatentSpace) else ""
            raise UserError(f"--metrics {metric}: this family has no space {which} to walk in{allowed}")
        if self._perceptual is None:
            self._perceptual = Perceptual(settings.paths.weights, settings.device)
        steps = Steps(sampler, "w" if which == "w" else "z", settings.paths, self._perceptual)

        def work(places: range) -> Tensor:
            some = _shifted(places, seeds.start)
            return steps.lengths(some, classes_of(some, labels))

        parts = blocks(len(seeds), settings.block)
        off = None if self.peers.rank == 0 else True
        found = list(tqdm(in_order(parts, work, self.peers), metric, len(parts), unit="block", disable=off))
        return path_length(torch.cat(found)) if found else {}

    def _sampler(self, snapshot: Snapshot) -> Sampler:
        """Made once a snapshot: its weights are large, and checked when they are read."""
        if self._made is None or self._made[0] != snapshot.digest:
            self._made = snapshot.digest, self._make_sampler(snapshot)
        return self._made[1]

    def _data(self) -> dict[str, Any]:
        index = self._index
        return {
            "path": str(index.root.resolve()),
            "digest": index.digest,
            "count": index.count,
            "origin": dict(index.origin),
            **asdict(index.spec),
        }

    def _show(self, snapshot: Snapshot, result: Result, measured: bool) -> None:
        run = run_of(snapshot)
        if run is None:
            return
        write_scalars(run, [result])
        if measured and wants_clouds(run, snapshot):  # of many evaluators, the one that measured it
            sampler = self._sampler(snapshot)
            show_clouds(run, snapshot, sampler, self._index, self._extractor, self._needs.images)


def draw_fakes(sampler: Sampler, seeds: range, labels: list[int] | None = None) -> Tensor:
    """uint8 fakes [N, C, H, W] of `seeds`, psi 1. labels: of the reals, see `classes_of`."""
    with torch.inference_mode():
        return to_uint8(sampler.draw(seeds, classes=classes_of(seeds, labels)).images)


def classes_of(seeds: range, labels: list[int] | None) -> list[int] | None:
    """The class of each fake: that of a real which is drawn by the fake's seed, so that classes are as
    frequent as in the data. None without labels: a conditional model draws classes from the seed."""
    if labels is None:
        return None
    return [labels[derive_seed("evaluation-class", seed) % len(labels)] for seed in seeds]


def _shifted(places: range, origin: int) -> range:
    return range(places.start + origin, places.stop + origin)


def _shape(spec: ImageSpec) -> str:
    return f"{spec.width}x{spec.height} {'grey' if spec.channels == 1 else 'RGB'}"
