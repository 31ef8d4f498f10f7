"""The evaluation job: snapshots in, result files, TensorBoard scalars and a table out.

It reads what training has published and never touches training itself.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from pipeline.contracts import ImageSpec, Sampler
from pipeline.data.index import ShardIndex
from pipeline.errors import UserError
from pipeline.evaluation.board import write_scalars
from pipeline.evaluation.cache import StatisticsCache, cache_folder
from pipeline.evaluation.measure import check_size, how_measured, measure
from pipeline.evaluation.plan import WITHOUT_WEIGHTS, Settings, check_count, fake_needs
from pipeline.evaluation.reference import Reference
from pipeline.evaluation.results import Result, add_metrics, read_result, result_path, run_of
from pipeline.evaluation.statistics import Extractor, Statistics
from pipeline.randomness import derive_seed
from pipeline.storage.pictures import to_uint8
from pipeline.storage.snapshots import Snapshot

MakeSampler = Callable[[Snapshot], Sampler]
Report = Callable[[str], None]


class EvaluationJob:
    """Evaluates snapshots against one data set with one group of settings.

    make_sampler: turns a snapshot into what draws images from it. The reals are looked at once, when
    the first snapshot needs them.
    """

    def __init__(self, data: Path, settings: Settings, make_sampler: MakeSampler, report: Report) -> None:
        self._settings, self._make_sampler, self._report = settings, make_sampler, report
        self._index = ShardIndex.read(data)
        where = str(self._index.root)
        check_count(settings.count, self._index.count, where)
        check_size(settings.metrics, self._index.spec, where)
        self._needs = fake_needs(settings, self._index.count)
        self._extractor = _extractor(settings) if settings.needs_inception else None
        self._reference: Reference | None = None

    def evaluate(self, snapshot: Snapshot) -> Result:
        """The snapshot's result, complete with the settings' metrics; measures what is not there yet."""
        self._check(snapshot)
        result = read_result(result_path(snapshot))
        missing = self.missing(snapshot)
        if missing or result is None or result.snapshot != snapshot.digest:
            reference = self._reals(result_path(snapshot).parent)
            gathered = self._gather(snapshot, reference)
            figures = measure(missing, gathered, reference, self._settings)
            for name, values in figures.items():
                values.update(self._how(name))
            result = add_metrics(snapshot, figures, self._data(), self._report)
        self._show(snapshot, result)
        return result

    def missing(self, snapshot: Snapshot) -> tuple[str, ...]:
        """Metrics that have not been measured on this snapshot in this way."""
        result = read_result(result_path(snapshot))
        if result is None or result.snapshot != snapshot.digest:
            return self._settings.metrics
        return tuple(name for name in self._settings.metrics if not result.holds(name, self._how(name)))

    def _how(self, metric: str) -> dict[str, Any]:
        digest = self._extractor.digest if self._extractor is not None else None
        return how_measured(metric, self._needs, self._index.digest, digest, self._settings.seed)

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

    def _reals(self, results: Path) -> Reference:
        if self._reference is None:
            cache = StatisticsCache(cache_folder(self._index.root, results), self._report)
            self._reference = Reference(self._index, self._settings, self._extractor, cache)
        return self._reference

    def _gather(self, snapshot: Snapshot, reference: Reference) -> Statistics:
        settings = self._settings
        sampler = self._make_sampler(snapshot)
        labels = reference.labels() if snapshot.spec.classes else None
        gathered = Statistics(self._needs, self._index.spec, self._extractor, settings.seed, settings.device)
        title = f"fakes at {snapshot.images_seen:,}"
        with tqdm(total=self._needs.images, desc=title, unit="img", disable=None) as bar:
            for images in draw_fakes(sampler, self._needs.images, settings.batch_size, labels):
                gathered.add(images)
                bar.update(len(images))
        return gathered

    def _data(self) -> dict[str, Any]:
        index = self._index
        return {
            "path": str(index.root.resolve()),
            "digest": index.digest,
            "count": index.count,
            "origin": dict(index.origin),
            **asdict(index.spec),
        }

    @staticmethod
    def _show(snapshot: Snapshot, result: Result) -> None:
        run = run_of(snapshot)
        if run is not None:
            write_scalars(run, [result])


def _extractor(settings: Settings) -> Extractor:
    if importlib.util.find_spec("torch_fidelity") is None:
        raise UserError(
            f"--metrics {','.join(settings.metrics)}: torch-fidelity is not installed; allowed: "
            f"pip install 'hrgan[eval]', or --metrics {','.join(WITHOUT_WEIGHTS)}"
        )
    from pipeline.evaluation.features import InceptionExtractor

    return InceptionExtractor(settings.inception, settings.device)


def draw_fakes(
    sampler: Sampler, count: int, batch_size: int, labels: list[int] | None = None
) -> Iterator[Tensor]:
    """uint8 fakes [N, C, H, W] with seeds 0..count-1, psi 1.

    labels: of the reals; fake i then has the class of a real that is drawn by i, so that classes are as
    frequent as in the data. None: a conditional model draws classes from the seed.
    """
    for start in range(0, count, batch_size):
        seeds = range(start, min(start + batch_size, count))
        classes = None
        if labels is not None:
            classes = [labels[derive_seed("evaluation-class", seed) % len(labels)] for seed in seeds]
        with torch.inference_mode():
            yield to_uint8(sampler.draw(seeds, classes=classes).images)


def _shape(spec: ImageSpec) -> str:
    return f"{spec.width}x{spec.height} {'grey' if spec.channels == 1 else 'RGB'}"
