"""Trains the small healthy and spoilt runs that `hrgan doctor RUN` is tested on, and stores what they say.

    python -m tools.research.spoilt_runs WORK
    python -m tools.research.spoilt_runs WORK --only nan rate

Each run is a real one of StyleGAN2 with ADA at 32px on a CPU, spoilt in one way: its rates, its labels, its
number of images, its target of ADA, or its loader. The small files that the doctor reads go to
tests/stored/runs/NAME; networks and samples stay in WORK. About a quarter of an hour on one core.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import yaml

from launch.main import main as hrgan
from pipeline.data.shards.index import ShardIndex
from pipeline.data.streaming.chunks import Decoder
from pipeline.evaluation.metrics.registry import METRICS, PLAIN
from pipeline.storage.manifest import MANIFEST
from pipeline.training.report import Report
from pipeline.training.trainer import Trainer

STORED = Path(__file__).parents[2] / "tests/stored/runs"
WAIT = "speed/data_wait_share"
_TO_SLOW = 3_000  # images after which the slow loader becomes slow
_KEPT = ("job.json", "data.json")
_DIGITS = 4  # of a stored figure


@dataclass(frozen=True)
class Run:
    """One run: its data (`digits`, `shuffled`, `few` or `faces`), and what differs from the healthy one."""

    data: str
    settings: tuple[str, ...] = ()
    slow: bool = False
    code: int = 0
    metrics: tuple[str, ...] = PLAIN


_OF_CLASSES = (*PLAIN, *(name for name, metric in METRICS.items() if metric.labels))
_LONGER = (
    *("length.images=20k", "report.every_images=1250", "snapshots.every_images=5k"),
    *("checkpoints.every_images=20k", "family.ada.adjust_images=500k"),
)
RUNS = {
    "healthy-digits": Run("digits", _LONGER, metrics=_OF_CLASSES),
    "healthy-faces": Run("faces"),
    "rate": Run("digits", ("family.generator_rate=0.25", "family.discriminator_rate=0.25")),
    "labels": Run("shuffled", metrics=_OF_CLASSES),
    "few": Run("few", metrics=()),  # too few to evaluate
    "p": Run("digits", ("family.ada.target=0", "family.ada.adjust_images=2k")),
    "wait": Run("digits", slow=True, metrics=()),
    "nan": Run(
        "digits",
        ("family.generator_rate=1e12", "family.discriminator_rate=1e12", "report.every_images=64"),
        code=1,
        metrics=(),
    ),
}
_SETTINGS = (
    *("length.images=8k", "report.every_images=500", "snapshots.every_images=2k", "snapshots.grid=8"),
    *("checkpoints.every_images=8k", "data.workers=1", "data.resolution=32", "report.tensorboard=false"),
    *("family.ada.mode=adaptive", "family.ada.adjust_images=10k"),
)


def make_data(work: Path, name: str) -> Path:
    """Returns the shards of that name below `work`, made if they are not there."""
    out = work / name
    options = {
        "digits": ["demo:digits"],
        "few": ["demo:digits", "--count", "8", "--labels", "none"],
        "faces": ["demo:faces", "--resolution", "32", "--count", "1000", "--labels", "none"],
    }
    if name == "shuffled":
        source, *rest = _shuffled(work)
    else:
        source, *rest = options[name]
    if not (out / "index.json").exists() and hrgan(["prepare", source, str(out), *rest]):
        raise SystemExit(f"{out}: could not be made")
    return out


def _shuffled(work: Path) -> list[str]:
    """The digits, with each other's classes."""
    pictures, file = work / "digits.zip", work / "digits.csv"
    if not file.exists():
        hrgan(["export", str(make_data(work, "digits")), str(pictures)])
        import zipfile

        with zipfile.ZipFile(pictures) as archive:
            names = sorted(name for name in archive.namelist() if name.endswith(".png"))
        classes = [name.split("/")[0] for name in names]
        random.Random(0).shuffle(classes)
        rows = (f"{name},{one}" for name, one in zip(names, classes, strict=True))
        file.write_text("file,class\n" + "\n".join(rows) + "\n")
    return [str(pictures), "--labels", str(file)]


@contextmanager
def slow_loader() -> Iterator[None]:
    """Inside, decoding takes a multiple of a step from a position on, and ticks say which share of the time
    was waited for data."""
    fill, draw, tick = Decoder.fill, Trainer._draw, Report.tick
    waited, began = [0.0], [time.perf_counter()]

    def late(self: Decoder, samples: Any, positions: range) -> Any:
        time.sleep(0.02 * len(positions) if positions.start > _TO_SLOW else 0)
        return fill(self, samples, positions)

    def timed(self: Trainer) -> Any:
        start = time.perf_counter()
        drawn = draw(self)
        waited[0] += time.perf_counter() - start
        return drawn

    def told(self: Report, images_seen: int, step: int, figures: Mapping[str, float]) -> None:
        now = time.perf_counter()
        share = waited[0] / (now - began[0])
        waited[0], began[0] = 0.0, now
        tick(self, images_seen, step, {**figures, WAIT: share})

    with (
        patch.object(Decoder, "fill", late),
        patch.object(Trainer, "_draw", timed),
        patch.object(Report, "tick", told),
    ):
        yield


def make_run(work: Path, name: str) -> Path:
    """Trains and evaluates one run anew and returns its folder."""
    run, folder = RUNS[name], work / "runs" / name
    shutil.rmtree(folder, ignore_errors=True)
    data = make_data(work, run.data)
    words = ["train", "quickstart", f"data.path={data}", *_SETTINGS, *run.settings, "--run", str(folder)]
    with slow_loader() if run.slow else nullcontext():
        code = hrgan(words)
    if code != run.code:
        raise SystemExit(f"{name}: ended with {code}, not {run.code}")
    if run.metrics:
        measured = ["--data", str(data), "--metrics", ",".join(run.metrics), "--count", "400"]
        hrgan(["evaluate", str(folder), *measured])
    return folder


def store(folder: Path, out: Path) -> None:
    """Stores what the doctor reads of a run, its figures in four digits."""
    shutil.rmtree(out, ignore_errors=True)
    (out / "metrics").mkdir(parents=True)
    lines = (json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines())
    (out / "log.jsonl").write_text("".join(json.dumps(_short(line)) + "\n" for line in lines))
    config = yaml.safe_load((folder / "config.yaml").read_text())
    root = config["data"]["path"]
    config["data"]["path"] = "shards"
    (out / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    for name in _KEPT:
        content = json.loads((folder / name).read_text())
        if "path" in content:
            content = {**content, "path": "shards", "count": ShardIndex.read(Path(root)).count}
        (out / name).write_text(json.dumps({**content, **_anywhere(content)}, indent=1) + "\n")
    for path in sorted((folder / "checkpoints").glob("[0-9]*"))[-1:]:
        (out / "checkpoints" / path.name).mkdir(parents=True)
        shutil.copy(path / MANIFEST, out / "checkpoints" / path.name / MANIFEST)
    for path in sorted((folder / "metrics").glob("[0-9]*.json")):
        content = json.loads(path.read_text())
        content["data"] = {"path": "shards", "digest": content["data"].get("digest", "")}
        (out / "metrics" / path.name).write_text(json.dumps(content) + "\n")


def _anywhere(content: Mapping[str, Any]) -> dict[str, Any]:
    return {"host": "here"} if "host" in content else {}


def _short(line: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: float(f"{value:.{_DIGITS}g}") if isinstance(value, float) and name != "time" else value
        for name, value in line.items()
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Makes the runs that are asked for, one after the other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path, help="folder for data sets and whole runs")
    parser.add_argument("--only", nargs="+", choices=RUNS, default=list(RUNS), help="these runs alone")
    parser.add_argument("--out", type=Path, default=STORED, help="where the small files go")
    options = parser.parse_args(arguments)
    for name in options.only:
        store(make_run(options.work, name), options.out / name)


if __name__ == "__main__":
    main()
