"""Result files: one for each snapshot, or for each data set compared with another. They are published whole,
and new metrics are added to what they hold."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, make_dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from pipeline.data.shards.index import ShardIndex
from pipeline.errors import Damaged, UserError
from pipeline.evaluation.metrics.registry import PARTS, by_name
from pipeline.reading import checked, read_json, shown
from pipeline.storage.atomic import move_away, publish_bytes
from pipeline.storage.manifest import MANIFEST, code_version
from pipeline.storage.snapshots import Snapshot
from pipeline.versions import Stored

RESULTS = "metrics"
"""The folder of results inside a run or a data set."""

FORMAT = Stored(version=1, unstated=1)
Figures = Mapping[str, Any]
Report = Callable[[str], None]
_T = TypeVar("_T")


@dataclass(frozen=True)
class Result:
    """The figures of one snapshot or of one data set.

    images_seen: 0 for an imported snapshot. snapshot: its digest. metrics: figures by name, each with its
    `value` and how it was measured (the `count` of fakes, the digest of the `data`, `seeds`, ...). data: the
    data set last compared with. versions: the software that measured. source: the file that the snapshot was
    imported from. measured: the data set that the figures belong to, which has neither images seen nor a
    snapshot; empty for a snapshot.
    """

    images_seen: int
    snapshot: str
    metrics: dict[str, Figures]
    data: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    source: str | None = None
    measured: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """The digest of what was measured."""
        return str(self.measured["digest"]) if self.measured else self.snapshot

    def holds(self, metric: str, how: Figures) -> bool:
        """Whether `metric` has been measured in exactly this way."""
        figures = self.metrics.get(metric)
        return figures is not None and all(figures.get(key) == value for key, value in how.items())

    def to_bytes(self) -> bytes:
        """The content of the result file."""
        of_snapshot = {
            "images_seen": self.images_seen if self.source is None else None,
            "source": self.source,
            "snapshot": self.snapshot,
        }
        body = {
            **({"measured": self.measured} if self.measured else of_snapshot),
            "metrics": self.metrics,
            "data": self.data,
            "versions": self.versions,
        }
        return (json.dumps(FORMAT.stamped(body), indent=1, sort_keys=True) + "\n").encode()


def run_of(snapshot: Snapshot) -> Path | None:
    """The run that contains the snapshot, as RUN/snapshots/<images>; None if the snapshot stands alone."""
    return _run_around(snapshot.folder.resolve())


def result_path(snapshot: Snapshot) -> Path:
    """RUN/metrics/<images>.json, named like the snapshot's folder; for a snapshot that stands alone,
    metrics-<folder>.json beside it."""
    folder = snapshot.folder.resolve()
    run = _run_around(folder)
    if run is None:
        return folder.with_name(f"metrics-{folder.name}.json")
    return run / RESULTS / f"{folder.name}.json"


def set_result_path(index: ShardIndex, reals: ShardIndex) -> Path:
    """SET/metrics/against-<digest>.json: the result of data set SET compared with the one that has this
    digest."""
    return index.folder / RESULTS / f"against-{reals.digest[:12]}.json"


def about_data(index: ShardIndex) -> dict[str, Any]:
    """What a result says about a data set."""
    return {
        "path": index.where,
        "digest": index.digest,
        "count": index.count,
        "origin": dict(index.origin),
        **index.spec.as_json(),
    }


def results_folder(target: Path) -> Path:
    """The folder for the results of `target`, a run, a snapshot or a data set."""
    folder = target.resolve()
    run = _run_around(folder) if (target / MANIFEST).is_file() else target
    return folder.parent if run is None else run / RESULTS


def _run_around(folder: Path) -> Path | None:
    return folder.parent.parent if folder.parent.name == "snapshots" else None


def read_result(path: Path) -> Result | None:
    """The result at `path`; None if there is none. Raises Damaged if the file is not a result, and UserError
    if a newer version wrote it."""
    try:
        body = FORMAT.current(read_json(path), str(path))
    except FileNotFoundError:
        return None
    result = _checked(Result, _placed(body), str(path))
    for name, figures in result.metrics.items():
        _checked(_Shown, figures, f"{path}: metrics: {name:.40}")
    if result.measured:
        _checked(_Measured, result.measured, f"{path}: measured")
    return replace(result, metrics=by_name(result.metrics))


def _placed(body: object) -> object:
    """A result's JSON with defaults for what the results of data sets and imports leave out."""
    if not isinstance(body, Mapping):
        return body
    if body.get("measured"):
        return {"images_seen": 0, "snapshot": "", **body}
    return {**body, "images_seen": body.get("images_seen") or 0} if body.get("source") else body


def _checked(schema: type[_T], body: object, where: str) -> _T:
    """Like `checked`, but ignores additional keys."""
    names = {field.name for field in fields(schema)}  # type: ignore[arg-type]
    known = {name: body[name] for name in names & body.keys()} if isinstance(body, Mapping) else body
    return checked(schema, known, where)


@dataclass(frozen=True)
class _Measured:
    digest: str
    count: int
    origin: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Part:
    value: float
    count: int = 0


_NUMBERS = (*PARTS, "spread", "low", "high")
# The parts of a metric's figures that tables and curves show.
_Shown = make_dataclass(
    "_Shown",
    [
        ("value", float),
        *((name, float | None, field(default=None)) for name in _NUMBERS),
        *((name, float | _Part | None, field(default=None)) for name in ("reals", "floor")),
        ("levels", Mapping[str, float], field(default_factory=dict)),
    ],
    frozen=True,
)


def standing_result(path: Path, report: Report) -> Result | None:
    """Like `read_result`, but a damaged file is moved aside and reported, and counts as missing."""
    try:
        return read_result(path)
    except Damaged as damage:
        report(shown(f"{damage}; measured anew (it is kept as {move_away(path).name})"))
        return None


def read_results(run: Path, report: Report = lambda line: None) -> list[Result]:
    """All results of a run, ordered by images seen. Damaged files are reported and skipped."""
    results = []
    for path in sorted((run / RESULTS).glob("[0-9]*.json")):
        try:
            results.append(read_result(path))
        except (Damaged, UserError) as damage:
            report(shown(f"{damage}; passed over"))
    return sorted((result for result in results if result is not None), key=lambda r: r.images_seen)


def add_metrics(
    path: Path,
    empty: Result,
    metrics: Mapping[str, Figures],
    data: Mapping[str, Any],
    report: Report,
) -> Result:
    """Publishes a result with `metrics` added to the other figures of the same images. `empty` is the result
    without figures.

    Figures of another snapshot under this name (after a run was started afresh), or of a data set that was
    made anew, are dropped.
    """
    old = standing_result(path, report)
    if old is not None and old.digest != empty.digest:
        what = "data set" if empty.measured else "snapshot"
        report(f"{path}: figures of another {what} under this name are dropped")
        old = None
    merged = {**(old.metrics if old is not None else {}), **metrics}
    result = replace(empty, metrics=merged, data=data, versions=versions())
    publish_bytes(path, result.to_bytes())
    return result


def versions() -> dict[str, str]:
    """The versions of the software that measured."""
    try:
        return {**code_version(), "torch-fidelity": version("torch-fidelity")}
    except PackageNotFoundError:  # an extra that some metrics do without
        return code_version()
