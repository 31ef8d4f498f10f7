"""Others' shards used in place, as it is typed: the words, and a run that is killed and goes on."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from launch.main import main
from tests.data.foreign import counting, write_shards
from tests.data.sets import make_set
from tests.small_run import hrgan, start_hrgan, wait_for, write_config
from tools.compare_runs import differences


def test_what_is_typed_and_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    source, out = write_shards(tmp_path / "theirs", counting(40)), tmp_path / "out"
    assert main(["prepare", str(source), str(out), "--in-place", "--workers", "1"]) == 0
    said = capsys.readouterr().out
    assert re.fullmatch(
        rf"{out}: 40 images, 10 classes, \d\.\d s\nthe shards stay in {source} and are read there: keep them "
        rf"as they are\nclasses \(\.cls\): 0 4, .*, 9 4\n",
        said,
    )
    assert main(["prepare", str(source), str(out), "--in-place", "--pyramid", "--workers", "1"]) == 0
    assert "pyramid: 4x4" in capsys.readouterr().out


@pytest.mark.parametrize(
    "option",
    [
        *("--filter=box", "--format=jpg", "--quality=90", "--shard-size=10", "--seed=1", "--count=9"),
        *("--range=0:9", "--background=red", "--follow-links", "--on-absent=skip"),
    ],
)
def test_options_that_would_change_shards(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, option: str
) -> None:
    assert main(["prepare", str(tmp_path), str(tmp_path / "out"), "--in-place", option]) == 2
    error = capsys.readouterr().err
    assert f"{option.partition('=')[0]}: not with --in-place, which leaves shards as they are" in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_to_the_bits_of_one_that_was_not(tmp_path: Path) -> None:
    source, out = write_shards(tmp_path / "theirs", counting(43)), tmp_path / "out"
    assert main(["prepare", str(source), str(out), "--in-place", "--workers", "1"]) == 0
    own = make_set(tmp_path / "own", 43)  # the same images in our own shards
    settings = {"length": {"images": 96}, "report": {"every_images": 8, "tensorboard": False}}
    theirs = write_config(tmp_path / "theirs.yaml", out, **settings)
    ours = write_config(tmp_path / "ours.yaml", own.root, **settings)
    assert hrgan("train", ours, "--run", tmp_path / "straight").returncode == 0
    process = start_hrgan("train", theirs, "--run", tmp_path / "killed")
    wait_for(process, "56/96 images")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stderr.close()
    done = hrgan("train", theirs, "--run", tmp_path / "killed")
    assert done.returncode == 0, done.stderr
    assert "going on from" in done.stderr
    assert differences(tmp_path / "straight", tmp_path / "killed") == []
