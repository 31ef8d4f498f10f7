"""The evaluation job: takes snapshots or data sets, and gives result files, TensorBoard scalars and a table.

It reads what training has published and never touches training itself. Any number of processes gives the same
figures; the first of them writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.board.events import EVALUATION
from pipeline.contracts import COLOURS, ImageSpec
from pipeline.data.shards.index import ShardIndex
from pipeline.data.stores.place import Place
from pipeline.errors import UserError
from pipeline.evaluation.board import write_scalars
from pipeline.evaluation.cache import StatisticsCache, cache_folder
from pipeline.evaluation.clouds import show_clouds, wants_clouds
from pipeline.evaluation.compared import Compared, Walkable
from pipeline.evaluation.fakes import reconstructions
from pipeline.evaluation.features.extractors import check_extractors, make_extractors
from pipeline.evaluation.gathering import gather
from pipeline.evaluation.measure import how_measured, joined, measure
from pipeline.evaluation.metrics.needs import images_of
from pipeline.evaluation.metrics.registry import METRICS, can_rank, name_of
from pipeline.evaluation.peers import Alone, Peers
from pipeline.evaluation.plan import (
    SEED_STRIDE,
    check_count,
    check_labels,
    check_settings,
    check_size,
    needs_of,
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
from pipeline.evaluation.settings import Asked, Settings
from pipeline.evaluation.sources import (
    MakeSampler,
    SnapshotSource,
    Source,
    open_measured,
    source_of,
    stored_images,
)
from pipeline.float32 import full_float32
from pipeline.storage.atomic import sweep_folder
from pipeline.storage.claims import Claims
from pipeline.storage.snapshots import Snapshot
from pipeline.words import patiently

Report = Callable[[str], None]


class EvaluationJob:
    """Evaluates snapshots, or other data sets, against one data set with one group of settings.

    `make_sampler` makes from a snapshot what draws its images. `peers` are the processes that share the work;
    each of them makes the same job and calls `evaluate` with the same snapshots. The reals are processed
    once, when the first snapshot needs them. Making a job turns TF32 off in this process.
    """

    def __init__(
        self,
        data: str | Place,
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
        check_size(settings, self._index.spec, where)
        check_labels(settings, self._index.spec.classes, where)
        self._extractors = make_extractors(settings)
        check_extractors(settings, self._extractors)
        self._reference: Reference | None = None
        self._kept: dict[object, Any] = {}

    def evaluate(self, what: Snapshot | ShardIndex) -> Result | None:
        """The result of a snapshot or a data set with all of the settings' metrics, on the first process;
        None on the others. Metrics that the result already has are not measured again."""
        source = self._source(what)
        self._check(source)
        first = self.peers.rank == 0
        missing = self.peers.from_first(self._missing(source) if first else ())
        result = standing_result(source.result_path, self._report) if first else None
        if missing:
            doing = f"measuring {', '.join(map(self._name, missing))} of {source.where}"
            with patiently(doing, self._report):
                figures = self._measure(source, missing)
            if first:
                data = about_data(self._index)
                result = add_metrics(source.result_path, source.result, figures, data, self._report)
        if result is not None and isinstance(source, SnapshotSource):
            self._show(source)
        return result

    def result_path(self, folder: Path) -> Path:
        """The path of the result of a snapshot or a data set."""
        return self._source(open_measured(folder)).result_path

    def sweep(self, target: Path) -> None:
        """Removes what dead evaluators have left, beside the results of `target` (a run, a snapshot or a data
        set) and beside the statistics of the reals."""
        results = results_folder(target)
        run = (results.parent, results.parent / EVALUATION) if results.name == RESULTS else ()
        for folder in (results, *run, cache_folder(self._index.root, results)):
            sweep_folder(folder)
            Claims(folder).sweep()

    @property
    def ranking(self) -> str | None:
        """The metric that decides which snapshot is best: the first of the settings' metrics whose figures
        can be ordered; None if there is none."""
        names = map(self._name, self._settings.metrics)
        return next((name for name in names if can_rank(name)), None)

    def missing(self, what: Snapshot | ShardIndex) -> tuple[str, ...]:
        """The metrics that have not been measured on these images in this way."""
        return self._missing(self._source(what))

    def _missing(self, source: Source) -> tuple[str, ...]:
        result, metrics = standing_result(source.result_path, self._report), self._settings.metrics
        if result is None or result.digest != source.result.digest:
            return metrics
        asked = self._asked(source)
        return tuple(name for name in metrics if not result.holds(self._name(name), self._how(name, asked)))

    def _source(self, what: Snapshot | ShardIndex) -> Source:
        return source_of(what, self._index, self._make_sampler)

    def _asked(self, source: Source) -> Asked:
        return Asked(self._settings, self._index.count, source.stored)

    def _name(self, metric: str) -> str:
        """The metric's name in results."""
        extractor = METRICS[metric].extractor_in(self._settings)
        return name_of(METRICS[metric], None if extractor is None else self._extractors[extractor].name)

    def _how(self, metric: str, asked: Asked) -> dict[str, Any]:
        return how_measured(METRICS[metric], asked, self._index.digest, self._extractors)

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
        needs = needs_of(self._settings.metrics, self._asked(source))
        if self._reference is None or self._reference.needs != needs:
            folder = cache_folder(self._index.root, source.result_path.parent)
            cache = StatisticsCache(folder, self._report)
            self._reference = Reference(
                self._index, needs, self._settings, self._extractors, cache, self.peers
            )
        return self._reference

    def _measure(self, source: Source, missing: tuple[str, ...]) -> dict[str, dict[str, Any]]:
        """The figures by metric, on the first process."""
        if isinstance(source, SnapshotSource):
            source.check_model(missing)
        reference, asked = self._reals(source), self._asked(source)
        sets = [self._measure_set(source, reference, missing, n) for n in range(self._settings.seeds)]
        if self.peers.rank != 0:
            return {}
        return {
            self._name(name): {**joined([figures[name] for figures in sets]), **self._how(name, asked)}
            for name in missing
            if sets[0][name]
        }

    def _measure_set(
        self, source: Source, reference: Reference, metrics: tuple[str, ...], number: int
    ) -> dict[str, dict[str, Any]]:
        again = tuple(name for name in metrics if METRICS[name].reconstructs)
        asking = tuple(name for name in metrics if METRICS[name].rates or METRICS[name].classifies)
        drawn = tuple(name for name in metrics if name not in (*again, *asking))
        figures = measure(drawn, self._look_at(source, reference, drawn, number)) if drawn else {}
        if again:
            assert isinstance(source, SnapshotSource), "data sets are refused before"
            with self._reconstructed(source, reference, again, number) as compared:
                figures |= measure(again, compared)
        if asking:
            assert isinstance(source, SnapshotSource), "data sets are refused before"
            with self._asked_about(source, reference, number) as compared:
                figures |= measure(asking, compared)
        return figures

    @contextmanager
    def _asked_about(self, source: SnapshotSource, reference: Reference, number: int) -> Iterator[Compared]:
        """The reals and their classes, for metrics of what the model says of them."""
        asked, spec = self._asked(source), self._index.spec
        labels = reference.labels() if source.spec.classes else None
        walkable = Walkable(source.sampler, number * SEED_STRIDE, labels)
        with stored_images(self._index) as originals:
            yield Compared(asked, None, None, reference, self.peers, spec, walkable, self._kept, originals)

    @contextmanager
    def _reconstructed(
        self, source: SnapshotSource, reference: Reference, metrics: tuple[str, ...], number: int
    ) -> Iterator[Compared]:
        """The model's reconstructions beside the reals, for metrics of these names."""
        asked, spec, settings = self._asked(source), self._index.spec, self._settings
        walkable = Walkable(source.sampler, number * SEED_STRIDE, None)
        classes = reference.labels() if settings.per_class else None
        with stored_images(self._index) as originals:
            seen = gather(
                needs_of(metrics, asked).fakes,
                spec,
                self._extractors,
                settings,
                lambda places: reconstructions(source.sampler, originals, places, settings.device),
                self.peers,
                f"reconstructions, {source.snapshot.age}",
                originals,
            )
            yield Compared(asked, seen, classes, reference, self.peers, spec, walkable, self._kept, originals)

    def _look_at(
        self, source: Source, reference: Reference, metrics: tuple[str, ...], number: int
    ) -> Compared:
        """One set of images beside the reals, with what the metrics need of it."""
        asked, settings = self._asked(source), self._settings
        labels = reference.labels() if source.spec.classes else None
        wanted = needs_of(metrics, asked).fakes
        with source.opened(number, labels) as images:
            seen = gather(
                wanted, self._index.spec, self._extractors, settings, images, self.peers, source.title
            )
        within = settings.per_class or any(METRICS[name].labels for name in metrics)
        classes = source.classes_here(number, images_of(wanted), labels) if within else None
        walkable = None
        if isinstance(source, SnapshotSource) and any(METRICS[name].generator for name in metrics):
            walkable = Walkable(source.sampler, number * SEED_STRIDE, labels)
        return Compared(asked, seen, classes, reference, self.peers, self._index.spec, walkable, self._kept)

    def _show(self, source: SnapshotSource) -> None:
        snapshot, run = source.snapshot, run_of(source.snapshot)
        if run is None:
            return
        write_scalars(run)
        if wants_clouds(run, snapshot):
            extractor = next(iter(self._extractors.values()), None)
            images = images_of(needs_of(self._settings.metrics, self._asked(source)).fakes)
            show_clouds(run, snapshot, lambda: source.sampler, self._index, extractor, images)


def _shape(spec: ImageSpec) -> str:
    return f"{spec.width}x{spec.height} {COLOURS[spec.channels]}"
