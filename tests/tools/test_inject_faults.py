"""What is published was fsynced before its name, and the name after; and a few faults at calls of hrgan."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tools.torture.inject_faults.__main__ import Bench, cases
from tools.torture.inject_faults.durable import Change, Disk, read_log
from tools.torture.inject_faults.shim import compile_shim, variables
from tools.torture.inject_faults.warm import Commands
from tools.torture.inject_faults.workloads import WORKLOADS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return compile_shim(tmp_path_factory.mktemp("shim"))


# Everything that publishes, by name, each time followed by a file that says it has returned.
PUBLISH = """
    import os, sys
    from pathlib import Path
    import torch
    from pipeline.data.shards.sink import ShardSink
    from pipeline.generation.blocks import HeldBlock
    from pipeline.storage.atomic import make_folder, publish_bytes, publish_folder
    from pipeline.storage.checkpoints import CheckpointStore
    from pipeline.storage.job import Job, write_job
    from pipeline.storage.tensors import save_tensors
    from pipeline.training.report import Report

    root = Path(os.environ["INJECT_ROOT"])

    def tensors(value):
        return {"w": torch.full((300,), float(value))}

    def snapshot(path, value):
        with publish_folder(path) as aside:
            save_tensors(aside / "generator.safetensors", tensors(value))
            (aside / "manifest.json").write_text(str(value))

    def checkpoint(path, images_seen):
        groups = {"networks": tensors(images_seen)}
        CheckpointStore(path, 2).save(groups, images_seen=images_seen, step=1, world_size=1, config_digest="")

    def shards(path):
        with ShardSink(path, name="data", height=4, width=4, channels=1, shard_size=2) as sink:
            for number in range(3):
                sink.write(f"{number:08d}", b"x" * 700, "png")

    def block(path):
        make_folder(path)
        (path / ".work").mkdir()
        lock = (path / ".work/0.lock").open("w")
        held = HeldBlock(0, range(1), path / "images-00000.tar", path / ".work/00000.json", lock)
        held.add({"number": 0}, "key", b"x" * 700, "png", {})
        held.finish()

    def report(path):
        with Report(path, total=8, start=0, device=torch.device("cpu"), tensorboard=True) as shown:
            shown.tick(4, 1, {"loss/generator": 1.0})
            shown.sync()

    for name, publish in {
        "file": lambda path: publish_bytes(path / "deep/a", b"one"),
        "file again": lambda path: publish_bytes(path / "deep/a", b"two"),
        "snapshots": lambda path: snapshot(path / "1", 1),
        "snapshots again": lambda path: snapshot(path / "1", 2),
        "run": lambda path: checkpoint(path, 8),
        "run again": lambda path: checkpoint(path, 16),
        "job": lambda path: write_job(path, Job("running")),
        "shards": shards,
        "generated": block,
        "report": report,
    }.items():
        publish(root / name.split()[0])
        (root / f"done-{name}").touch()
    """
EVERYTHING = {"file", "snapshots", "run", "job", "shards", "generated", "report"}
# Forks of one process that has imported all: as it is, without syncing folders, without syncing files.
WORLDS = """
import ctypes, json, os, stat, sys
import pipeline.generation.blocks, pipeline.training.report
sync = os.fsync
for environment in json.loads(sys.argv[2]):
    if os.fork() == 0:
        os.environ.update(environment)
        kinds = {"nothing": stat.S_ISSOCK, "folders": stat.S_ISDIR, "files": stat.S_ISREG}
        unsynced = kinds[environment["WITHOUT"]]
        os.fsync = lambda file: None if unsynced(os.fstat(file).st_mode) else sync(file)
        ctypes.CDLL(None).inject_begin()
        exec(sys.argv[1])
        os._exit(0)
    sys.exit(1) if os.wait()[1] else None
"""


def is_public(path: Path) -> bool:
    return not any(part.startswith(".") or part.endswith(".partial") for part in path.parts)


@pytest.fixture(scope="module")
def losses(library, tmp_path_factory):
    """For each world, what a loss of power could cost."""
    folders = {without: tmp_path_factory.mktemp("world") for without in ("nothing", "folders", "files")}
    worlds, disks = [], {}
    for without, folder in folders.items():
        (folder / "root" / "report").mkdir(parents=True)
        disks[without] = Disk(folder / "root")
        injected = variables(folder / "root", folder / "state", log=folder / "log")
        worlds.append({**injected, "WITHOUT": without})
    done = subprocess.run(
        [sys.executable, "-c", WORLDS, textwrap.dedent(PUBLISH), json.dumps(worlds)],
        env={**os.environ, "LD_PRELOAD": str(library), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return {without: lost(disks[without], read_log(folder / "log")) for without, folder in folders.items()}


def lost(disk: Disk, changes: list[Change]) -> dict[str, set[str]]:
    """At any moment: `late`, what had been published, said the program, and is not durable; `torn`, of what a
    reader would find a part."""
    chance = random.Random(0)
    found: dict[str, set[str]] = {"late": set(), "torn": set()}
    whole: dict[Path, set[bytes | None]] = {}
    seen: list[tuple[Path, bytes | None]] = []
    for change in changes:
        disk.replay([change])
        now = {path: data for path, data in disk.left(None, chance).items() if is_public(path)}
        if change.what == "r":  # what has its name by then is meant to be whole
            for path, data in now.items():
                whole.setdefault(path, set()).add(data)
        name = Path(change.first.decode()).name
        if change.what == "c" and name.startswith("done-"):
            name, kept = name.removeprefix("done-").split()[0], disk.left("promised", chance)
            theirs = [path for path in now if path.is_relative_to(name)]
            assert theirs
            found["late"].update(name for path in theirs if kept.get(path, 0) != now[path])
        for model in ("names", "torn"):
            seen += [(path, data) for path, data in disk.left(model, chance).items() if is_public(path)]
    for path, data in seen:
        if data not in whole.get(path, {data}) and path.parts[0] != "report":  # which grows, line by line
            found["torn"].add(path.parts[0])
    return found


def test_what_is_published_is_whole_at_every_moment_and_durable_when_it_is_said_to_be(losses):
    assert losses["nothing"] == {"late": set(), "torn": set()}


def test_without_syncing_all_of_it_could_be_lost(losses):
    assert losses["folders"] == {"late": EVERYTHING, "torn": set()}
    assert losses["files"] == {"late": EVERYTHING, "torn": EVERYTHING - {"report"}}


@pytest.mark.parametrize(("name", "counts"), [("train", (2, 1, 1)), ("prepare", (3, 1, 1))])
def test_a_few_faults_at_calls_are_a_line_and_the_same_command_makes_them_good(
    library, tmp_path, name, counts
):
    with Commands(ROOT, library) as commands:
        bench = Bench(commands, WORKLOADS[name], tmp_path, 60)
        found = list(cases(bench, *counts, seed=3))
    assert len(found) == sum(counts)
    assert [case for case in found if case.wrong or case.said in ("traceback", "hang")] == []
