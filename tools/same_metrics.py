"""Compares the figures from 1, 2, 3, ... processes and from torch-fidelity on the same images, with random
weights of a fixed seed under the published names.

Each number of processes measures in a folder of its own, including the statistics of the reals
(`--share-reals` reuses those of the first). torch-fidelity's own command gets exactly the same images and
uses its default settings.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from launch.assembly.sampling import sampler_of
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.reader import read_labels
from pipeline.data.streaming.numbered import read_uint8
from pipeline.evaluation.comparison import RANDOM_WEIGHTS, torch_fidelitys, write_weights
from pipeline.evaluation.fakes import draw_fakes
from pipeline.evaluation.metrics.registry import METRICS
from pipeline.evaluation.results import read_result
from pipeline.storage.manifest import digest_file
from pipeline.storage.snapshots import open_snapshot

_MEASURED = [name for name, metric in METRICS.items() if metric.plain or metric.weights in RANDOM_WEIGHTS]
_BATCH = 32
Figures = dict[str, float]


def ours(arguments: argparse.Namespace, weights: Mapping[str, Path], processes: int) -> Figures:
    """Returns all figures of the snapshot as `hrgan evaluate --processes` measures them."""
    folder = arguments.folder / f"processes-{processes}"
    data = arguments.folder / ("data" if arguments.share_reals else f"data-{processes}")
    if not data.exists():
        shutil.copytree(arguments.data, data, ignore=shutil.ignore_patterns("statistics"))
    if not (folder / "snapshot").exists():
        shutil.copytree(open_snapshot(arguments.source).folder, folder / "snapshot")
    command = [sys.executable, "-m", "launch.main", "evaluate", str(folder / "snapshot")]
    command += ["--data", str(data), "--metrics", ",".join(_MEASURED), "--count", str(arguments.count)]
    command += ["--batch", str(_BATCH), "--processes", str(processes), "--device", "cpu"]
    for name, path in weights.items():
        digest = digest_file(path)
        command += [f"--{name}-weights", str(path), f"--{name}-digest", digest]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    result = read_result(folder / "metrics-snapshot.json")
    assert result is not None, "the command has written it"
    return flat(result.metrics)


def flat(metrics: Mapping[str, Mapping[str, Any]]) -> Figures:
    """Returns every figure by metric.key, without the description of what was asked for."""
    keys = ("value", "std", "precision", "recall", "density", "coverage")
    return {f"{name}.{key}": values[key] for name, values in metrics.items() for key in keys if key in values}


def theirs(arguments: argparse.Namespace, home: Path) -> Figures:
    """Returns torch-fidelity's figures for the same images, with the weights in `home`. They are kept in a
    file, because they take as long as ours."""
    kept = arguments.folder / "torch-fidelity.json"
    if kept.exists():
        figures: Figures = json.loads(kept.read_text())
        return figures
    index, snapshot = ShardIndex.read(arguments.data), open_snapshot(arguments.source)
    labels = read_labels(index) if snapshot.spec.classes and index.classes else None
    sampler = sampler_of(snapshot, torch.device("cpu"))
    parts = [range(at, min(at + 100, arguments.count)) for at in range(0, arguments.count, 100)]
    fakes = torch.cat([draw_fakes(sampler, part, labels) for part in parts])
    reals = torch.cat([images for images, _, _ in read_uint8(index)])
    figures = torch_fidelitys(fakes, reals, home)
    kept.write_text(json.dumps(figures))
    return figures


def table(columns: Mapping[str, Figures]) -> str:
    """Returns a row per figure: the value of the first column, and the difference of each other column from
    it."""
    first, *others = columns
    lines = [f"{'':14} {first:>22} " + " ".join(f"{name:>18}" for name in others)]
    for name, value in columns[first].items():
        cells = [
            f"{columns[other][name] - value:>+18.3g}" if name in columns[other] else f"{'-':>18}"
            for other in others
        ]
        lines.append(f"{name:14} {value:>22.15g} " + " ".join(cells))
    return "\n".join(lines)


def main(given: Sequence[str] | None = None) -> int:
    """Prints the table. The exit code is 1 if processes differ by a bit, or from torch-fidelity by more than
    1e-6."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("source", type=Path, help="a snapshot or a run")
    parser.add_argument("--data", type=Path, required=True, help="shards of real images")
    parser.add_argument("--folder", type=Path, required=True, help="for weights, copies and results")
    parser.add_argument("--count", type=int, default=2000, help="generated images")
    parser.add_argument(
        "--processes", type=int, nargs="*", default=[1, 2, 3], help="none: torch-fidelity alone"
    )
    parser.add_argument("--share-reals", action="store_true", help="measure the reals once")
    arguments = parser.parse_args(given)
    home = arguments.folder / "torch"
    weights = dict(zip(("inception", "vgg"), write_weights(home), strict=True))
    if not arguments.processes:
        print(theirs(arguments, home))
        return 0
    columns = {f"{n} processes": ours(arguments, weights, n) for n in arguments.processes}
    first = next(iter(columns.values()))
    equal = all(column == first for column in columns.values())
    columns["torch-fidelity"] = theirs(arguments, home)
    near = all(abs(first[k] - v) <= 1e-6 * max(abs(v), 1) for k, v in columns["torch-fidelity"].items())
    print(table(columns))
    (arguments.folder / "table.json").write_text(json.dumps(columns, indent=1) + "\n")
    print(f"processes: {'the same bits' if equal else 'DIFFERENT'}; torch-fidelity: ", end="")
    print("within 1e-6" if near else "further than 1e-6")
    return 0 if equal and near else 1


if __name__ == "__main__":
    sys.exit(main())
