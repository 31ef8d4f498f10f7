"""The evaluation job: snapshots or data sets in, result files, TensorBoard scalars and a table out.

It reads what training has published and never touches training itself. Any number of processes give the same
figures; the first of them writes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from pipeline.board.events import EVALUATION
from pipeline.contracts import ImageSpec, Sampler
from pipeline.data.shards.index import ShardIndex
from pipeline.errors import UserError
from pipeline.evaluation.best import can_rank
from pipeline.evaluation.board import write_scalars
from pipeline.evaluation.cache import StatisticsCache, cache_folder
from pipeline.evaluation.clouds import show_clouds, wants_clouds
from pipeline.evaluation.extractors import make_extractors
from pipeline.evaluation.gathering import gather
from pipeline.evaluation.lpips import Perceptual
from pipeline.evaluation.measure import check_size, how_measured, joined, measure
from pipeline.evaluation.names import FEATURE_METRICS, PATH_METRICS, name_of
from pipeline.evaluation.paths import Steps, path_length
from pipeline.evaluation.peers import Alone, Peers, blocks, in_order
from pipeline.evaluation.plan import (
    SEED_STRIDE,
    Needs,
    Settings,
    check_count,
    check_settings,
    fake_needs,
    real_needs,
)
from pipeline.evaluation.reference import Reference
from pipeline.evaluation.results import (
    RESULTS,
    Result,
    about_data,
    add_metrics,
    results_folder,
    run_of,
    standing_result,
)
from pipeline.evaluation.sources import (
    MakeSampler,
    SnapshotSource,
    Source,
    classes_of,
    open_measured,
    shifted,
    source_of,
)
from pipeline.float32 import full_float32
from pipeline.latents import LatentSpace, StyledSpace
from pipeline.storage.atomic import sweep_folder
from pipeline.storage.claims import Claims
from pipeline.storage.snapshots import Snapshot

Report = Callable[[str], None]


class EvaluationJob:
    """Evaluates snapshots, or other data sets, against one data set with one group of settings.

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
        self._extractors = make_extractors(settings)
        if "is" in settings.metrics:
            extractor = self._extractors[settings.extractor_of("is")]
            if not extractor.has_logits:
                raise UserError(
                    f"--metrics is: the extractor {extractor.name} gives no classes; "
                    "take is from the list, or --extractor inception"
                )
        self._reference: Reference | None = None
        self._perceptual: Perceptual | None = None

    def evaluate(self, what: Snapshot | ShardIndex) -> Result | None:
        """The result of a snapshot or a data set, complete with the settings' metrics; measures what is not
        there yet. None but on the first process."""
        source = self._source(what)
        self._check(source)
        first = self.peers.rank == 0
        missing = self.peers.from_first(self._missing(source) if first else ())
        result = standing_result(source.result_path, self._report) if first else None
        if missing:
            figures = self._measure(source, missing)
            if first:
                data = about_data(self._index)
                result = add_metrics(source.result_path, source.result, figures, data, self._report)
        if result is not None and isinstance(source, SnapshotSource):
            self._show(source)
        return result

    def result_path(self, folder: Path) -> Path:
        """Where the result of a snapshot or a data set goes."""
        return self._source(open_measured(folder)).result_path

    def sweep(self, target: Path) -> None:
        """Removes what evaluators that are gone have left: beside results of `target`, a run, a snapshot or a
        data set, and beside statistics of the reals."""
        results = results_folder(target)
        run = (results.parent, results.parent / EVALUATION) if results.name == RESULTS else ()
        for folder in (results, *run, cache_folder(self._index.root, results)):
            sweep_folder(folder)
            Claims(folder).sweep()

    @property
    def ranking(self) -> str | None:
        """The metric that says which snapshot is best: the first that can; None if none can."""
        names = map(self._name, self._settings.metrics)
        return next((name for name in names if can_rank(name)), None)

    def missing(self, what: Snapshot | ShardIndex) -> tuple[str, ...]:
        """Metrics that have not been measured on these images in this way."""
        return self._missing(self._source(what))

    def _missing(self, source: Source) -> tuple[str, ...]:
        result, metrics = standing_result(source.result_path, self._report), self._settings.metrics
        if result is None or result.digest != source.result.digest:
            return metrics
        needs = self._needs(source)
        return tuple(name for name in metrics if not result.holds(self._name(name), self._how(name, needs)))

    def _source(self, what: Snapshot | ShardIndex) -> Source:
        return source_of(what, self._index, self._make_sampler)

    def _needs(self, source: Source) -> Needs:
        return fake_needs(self._settings, self._index.count, source.stored)

    def _name(self, metric: str) -> str:
        """In results."""
        if metric not in FEATURE_METRICS:
            return metric
        return name_of(metric, self._extractors[self._settings.extractor_of(metric)].name)

    def _how(self, metric: str, needs: Needs) -> dict[str, Any]:
        return how_measured(metric, needs, self._index.digest, self._extractors, self._settings)

    def _check(self, source: Source) -> None:
        source.check(self._settings)
        ours, theirs, where = source.spec, self._index.spec, source.where
        if _shape(ours) != _shape(theirs):
            raise UserError(
                f"{self._index.root}: images are {_shape(theirs)}, but those of {where} are {_shape(ours)}; "
                f"they must be equal: prepare the data at {_shape(ours)}"
            )
        if ours.classes and theirs.classes and source.classes != self._index.classes:
            raise UserError(
                f"{self._index.root}: its {theirs.classes} classes are not the {ours.classes} of {where}; "
                "they must have the same names in the same order"
            )
        check_settings(self._settings, bool(ours.classes and theirs.classes), str(self._index.root))

    def _reals(self, source: Source) -> Reference:
        needs = real_needs(self._settings, self._index.count, source.stored)
        if self._reference is None or self._reference.needs != needs:
            folder = cache_folder(self._index.root, source.result_path.parent)
            cache = StatisticsCache(folder, self._report)
            self._reference = Reference(
                self._index, needs, self._settings, self._extractors, cache, self.peers
            )
        return self._reference

    def _measure(self, source: Source, missing: tuple[str, ...]) -> dict[str, dict[str, Any]]:
        """The figures by metric, on the first process."""
        settings = replace(self._settings, metrics=missing)
        reference = self._reals(source)
        sets = [self._measure_set(source, reference, settings, number) for number in range(settings.seeds)]
        if self.peers.rank != 0:
            return {}
        needs = self._needs(source)
        return {
            self._name(name): {**joined([figures[name] for figures in sets]), **self._how(name, needs)}
            for name in missing
        }

    def _measure_set(
        self, source: Source, reference: Reference, settings: Settings, number: int
    ) -> dict[str, dict[str, Any]]:
        """The figures of one set of images."""
        labels = reference.labels() if source.spec.classes else None
        needs = fake_needs(settings, self._index.count, source.stored)
        with source.opened(number, labels) as images:
            seen = gather(
                needs, self._index.spec, self._extractors, settings, images, self.peers, source.title
            )
        classes = source.classes_here(number, needs.images, labels) if settings.per_class else None
        figures = measure(settings.metrics, seen, classes, reference, settings, self.peers)
        if isinstance(source, SnapshotSource):
            seeds = shifted(range(needs.paths), number * SEED_STRIDE)
            for metric in sorted(PATH_METRICS & set(settings.metrics)):
                figures[metric] = self._measure_paths(metric, source.sampler, seeds, labels)
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
            some = shifted(places, seeds.start)
            return steps.lengths(some, classes_of(some, labels))

        parts = blocks(len(seeds), settings.block)
        off = None if self.peers.rank == 0 else True
        found = list(tqdm(in_order(parts, work, self.peers), metric, len(parts), unit="block", disable=off))
        return path_length(torch.cat(found)) if found else {}

    def _show(self, source: SnapshotSource) -> None:
        snapshot, run = source.snapshot, run_of(source.snapshot)
        if run is None:
            return
        write_scalars(run)
        if wants_clouds(run, snapshot):
            extractor = next(iter(self._extractors.values()), None)
            images = self._needs(source).images
            show_clouds(run, snapshot, lambda: source.sampler, self._index, extractor, images)


def _shape(spec: ImageSpec) -> str:
    return f"{spec.width}x{spec.height} {'grey' if spec.channels == 1 else 'RGB'}"
