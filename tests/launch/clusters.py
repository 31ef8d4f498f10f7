"""A cluster file with every key, for tests of `hrgan submit`."""

from __future__ import annotations

import shlex
from pathlib import Path

import yaml

from launch.main import main

CLUSTER = {
    "partition": "gpu",
    "account": "faces",
    "qos": "long",
    "constraint": "a100&nvlink",
    "nodes": 2,
    "gpus_per_node": 4,
    "cpus_per_task": 6,
    "memory_gb": 100.5,
    "time": "1h30m",
    "signal_seconds": 200,
    "exclusive": True,
    "max_requeues": 7,
    "container": ["apptainer", "exec", "image with space.sif"],
    "setup": ["module load cuda/13"],
    "environment": {"NCCL_DEBUG": "a 'b'", "HRGAN_OPS_CACHE": "/shared/ops", "NCCL_IB_TIMEOUT": 22},
    "options": {"mail_user": "me@host", "hold": True, "nice": 10, "spread_job": False},
}


def cluster_file(folder: Path, **changes: object) -> str:
    path = folder / "cluster.yaml"
    values = {name: value for name, value in {**CLUSTER, **changes}.items() if value != "absent"}
    path.write_text(yaml.safe_dump(values))
    return str(path)


def submit_train(home, tmp_path, *more: object) -> int:
    """Submits training the configuration at `home` to the whole cluster file, into tmp_path/r."""
    fixed = ["submit", "train", str(home / "c.yaml"), "--cluster", cluster_file(tmp_path), "--run"]
    return main([*fixed, str(tmp_path / "r"), *map(str, more)])


def dry(capsys, *arguments: object) -> str:
    assert main(["submit", *map(str, arguments), "--dry-run"]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def options(script: str) -> dict[str, str]:
    """The options for sbatch, each once, as a shell reads them."""
    words = [shlex.split(line)[1:] for line in script.splitlines() if line.startswith("#SBATCH")]
    assert all(len(word) == 1 for word in words)
    pairs = [word[0].removeprefix("--").partition("=")[::2] for word in words]
    assert len({name for name, _ in pairs}) == len(pairs)
    return dict(pairs)


def sruns(script: str) -> list[list[str]]:
    return [shlex.split(line) for line in script.splitlines() if line.strip().startswith("srun ")]
