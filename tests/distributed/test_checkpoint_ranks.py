"""Checkpoints that several real ranks write and read together."""

from __future__ import annotations

import re

import psutil
import pytest

from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from pipeline.storage.checkpoints import CheckpointStore, share_name
from tests.distributed.gang import run_gang, run_module
from tests.small_run import start_hrgan, wait_for, write_config
from tools.compare_runs import differences


@pytest.mark.slow
def test_saved_by_all_stale_views_passed_over_and_a_full_disk_ends_all(tmp_path):
    run_gang("checkpoint_ranks.py", 2, str(tmp_path))
    found = CheckpointStore(tmp_path, 9).newest(pytest.fail)
    assert sorted(found.manifest.files) == [share_name(0, 2), share_name(1, 2)]
    assert all(entry.size > 300 for entry in found.manifest.files.values())


@pytest.mark.slow
def test_a_disk_that_is_full_for_one_rank_ends_the_run_and_the_same_command_goes_on(tmp_path):
    prepare("demo:digits", tmp_path / "shards", Asked(resolution=8, channels=1, count=200))
    config = write_config(
        tmp_path / "c.yaml",
        tmp_path / "shards",
        report={"every_images": 8, "tensorboard": False},
        checkpoints={"every_images": 16},
    )
    run = tmp_path / "run"
    with start_hrgan("train", config, "length.images=100k", "--processes", 2, "--run", run) as process:
        wait_for(process, "48/100")
        (rank,) = [c for c in psutil.Process(process.pid).children() if c.environ().get("RANK") == "1"]
        rank.rlimit(psutil.RLIMIT_FSIZE, (2000, 2000))
        rest = process.stderr.read()
        assert process.wait(60) == 1, rest
    assert re.search(
        r"hrgan: error: .*weights-00001-of-00002.*: cannot write: the file would be larger", rest
    )
    assert "Traceback" not in rest
    newest = CheckpointStore(run, 2).newest(pytest.fail).manifest.images_seen
    assert newest >= 16
    again = ["train", str(config), f"length.images={newest + 24}", "--run"]
    run_module("launch.main", 2, [*again, str(run)])
    assert not list((run / "checkpoints").glob(".*"))
    run_module("launch.main", 2, [*again, str(tmp_path / "straight")])
    assert differences(run, tmp_path / "straight") == []
