"""A StyleGAN2 run that takes seconds, for tests that start `hrgan` as people do."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import yaml

from tests.warm import Started, run_warm, start_warm

ROOT = Path(__file__).resolve().parents[1]

CONFIG = {
    "seed": 5,
    "length": {"images": 192},
    "data": {"workers": 1, "prefetch": 2, "lanes": 8, "mirror": True},
    "batch": {"size": 8},
    "family": {
        "name": "stylegan2",
        "z_dim": 16,
        "w_dim": 16,
        "mapping_layers": 2,
        "channel_base": 64,
        "channel_max": 8,
        "minibatch_stddev_group": 2,
        "r1_gamma": 0.1,
        "r1_every": 4,
        "path_length_every": 2,
        "ema_half_life_images": 100,
        "ada": {"mode": "adaptive", "adjust_images": 400, "every": 2},
    },
    "checkpoints": {"every_images": 24},
    "snapshots": {"every_images": 96, "grid": 8},
    "report": {"every_images": 8},
}


def write_config(path: Path, data: Path, **sections: dict) -> Path:
    merged = {**CONFIG, **{key: {**CONFIG.get(key, {}), **value} for key, value in sections.items()}}
    merged["data"] = {**merged["data"], "path": str(data)}
    path.write_text(yaml.safe_dump(merged))
    return path


def environment(threads: int = 1) -> dict[str, str]:
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": paths}


def hrgan(*arguments: object, timeout: float = 240) -> subprocess.CompletedProcess:
    """Runs the command to its end."""
    (done,) = run_warm([("-m", "launch.main", *map(str, arguments))], [environment()], ROOT, timeout)
    return done


def start_hrgan(*arguments: object) -> Started:
    return start_warm(("-m", "launch.main", *map(str, arguments)), environment(), ROOT)


def wait_for(process: subprocess.Popen | Started, text: str) -> list[str]:
    """Reads the process's lines up to one with `text`; AssertionError if it ends before."""
    lines = []
    for line in process.stderr:
        lines.append(line)
        if text in line:
            return lines
    raise AssertionError("ended without saying " + repr(text) + ":\n" + "".join(lines))


def logged(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
