"""The commands that are disturbed, small enough for hundreds of times, and what must be the same after."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.util.tb_logging import get_logger

from pipeline.storage.job import JOB

_SIDE, _PICTURES = 8, 48
_TRAINING: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("train.yaml").read_text())
get_logger().setLevel("ERROR")  # TensorBoard tells of each point that it hides, as it should
_KINDS = ("scalars", "images", "text", "custom_scalars")
_TIMES = ("time", "speed/", "memory/")  # of a log's entries, what no two runs share

Run = Callable[[Sequence[str]], None]
"""Runs an `hrgan` command that must succeed."""


@dataclass(frozen=True)
class Workload:
    """make: fills a new folder with what the command reads. arguments: of the command, in that folder. out:
    what it writes there."""

    make: Callable[[Path, Run], None]
    arguments: Callable[[Path], list[str]]
    out: str


def _pictures(folder: Path, run: Run) -> None:
    source = folder / "pictures"
    source.mkdir(parents=True)
    pixels = np.random.default_rng(7).integers(0, 256, (_PICTURES, _SIDE, _SIDE, 3), dtype=np.uint8)
    for number, picture in enumerate(pixels):
        Image.fromarray(picture).save(source / f"{number:03d}.png")


def _prepare(folder: Path) -> list[str]:
    return ["prepare", str(folder / "pictures"), str(folder / "out"), "--shard-size", "10", "--workers", "2"]


def _shards(folder: Path, run: Run) -> None:
    _pictures(folder, run)
    pictures, shards = folder / "pictures", folder / "shards"
    run(["prepare", str(pictures), str(shards), "--shard-size", "10", "--workers", "1"])
    shutil.rmtree(pictures)
    settings = {**_TRAINING, "data": {**_TRAINING["data"], "path": str(shards)}}
    (folder / "train.yaml").write_text(yaml.safe_dump(settings))


def _train(folder: Path) -> list[str]:
    return ["train", str(folder / "train.yaml"), "--run", str(folder / "run")]


def _snapshot(folder: Path, run: Run) -> None:
    _shards(folder, run)
    run([*_train(folder), "length.images=8", "report.tensorboard=false"])
    newest = max((folder / "run" / "snapshots").iterdir())
    newest.rename(folder / "snapshot")
    for left in ("shards", "run"):
        shutil.rmtree(folder / left)


def _generate(folder: Path) -> list[str]:
    arguments = ["generate", str(folder / "snapshot"), str(folder / "out"), "--count", "40"]
    return [*arguments, "--shard-size", "10", "--device", "cpu"]


WORKLOADS: Mapping[str, Workload] = {
    "train": Workload(_shards, _train, "run"),
    "generate": Workload(_snapshot, _generate, "out"),
    "prepare": Workload(_pictures, _prepare, "out"),
}


def differences(first: Path, second: Path) -> list[str]:
    """Files of two folders that are not the same: bytes, and where times stand in them, the rest of them."""
    a, b = _contents(first), _contents(second)
    return [
        f"{name}: {'differs' if name in a and name in b else 'only in ' + ('one', 'the other')[name in b]}"
        for name in sorted(a.keys() | b.keys())
        if a.get(name) != b.get(name)
    ]


def _contents(folder: Path) -> dict[str, Any]:
    contents: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.name == ".lock" or path.is_dir():
            continue
        if "tfevents" in path.name:
            contents[f"{Path(name).parent}/curves"] = None
        elif path.name == JOB:
            contents[name] = json.loads(path.read_bytes())["state"]
        elif path.name == "log.jsonl":
            contents[name] = [_timeless(line) for line in path.read_text().splitlines()]
        else:
            contents[name] = path.read_bytes()
    return {
        name: _curves(folder / Path(name).parent) if name.endswith("/curves") else value
        for name, value in contents.items()
    }


def _timeless(line: str) -> dict[str, Any]:
    return {key: value for key, value in json.loads(line).items() if not key.startswith(_TIMES)}


def _curves(folder: Path) -> dict[str, Any]:
    """What TensorBoard shows: of points that come again, it drops the older ones."""
    events = EventAccumulator(str(folder), tensor_size_guidance=dict.fromkeys(_KINDS, 0)).Reload()
    return {tag: [_value(tag, event) for event in events.Tensors(tag)] for tag in events.Tags()["tensors"]}


def _value(tag: str, event: Any) -> tuple[int, bytes]:
    value = b"" if tag.startswith(_TIMES) else event.tensor_proto.SerializeToString(deterministic=True)
    return event.step, value
