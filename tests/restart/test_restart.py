"""A stop at any moment costs nothing but time: the resumed run is bit-identical, curves included."""

from __future__ import annotations

import json
import math
import os
import signal

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from tests.small_run import hrgan, logged, start_hrgan, wait_for, write_config
from tools.compare_runs import differences
from tools.torture.kill_run import train_killed

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    out = tmp_path_factory.mktemp("digits") / "shards"
    prepare("demo:digits", out, Asked(resolution=8, channels=1, count=200, shard_size=40))
    return out


@pytest.fixture(scope="module")
def straight(shards, tmp_path_factory):
    """(config, the run that nothing disturbed)"""
    folder = tmp_path_factory.mktemp("straight")
    config = write_config(folder / "small.yaml", shards)
    done = hrgan("train", config, "--run", folder / "run")
    assert done.returncode == 0, done.stderr
    return config, folder / "run"


def curves(run) -> dict[str, list[int]]:
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    return {tag: [event.step for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def pictures(run) -> dict[str, list[int]]:
    events = EventAccumulator(str(run / "tensorboard"), {"images": 0}).Reload()
    return {tag: [event.step for event in events.Images(tag)] for tag in events.Tags()["images"]}


def without_time(entry: dict) -> dict:
    return {k: v for k, v in entry.items() if k != "time" and not k.startswith(("speed/", "memory/"))}


def assert_same(straight, run) -> None:
    assert differences(straight, run) == []
    assert [path.name for path in sorted((run / "snapshots").iterdir())] == [
        f"{images:012d}" for images in (0, 96, 192)
    ]
    assert len(list((run / "checkpoints").iterdir())) == 2
    ours, theirs = (list(map(without_time, logged(r))) for r in (run, straight))
    assert json.dumps(ours) == json.dumps(theirs)
    steps = curves(run)
    assert steps["loss/generator"] == list(range(8, 193, 8))
    assert steps == curves(straight)  # without gaps and doubles
    assert pictures(run) == {
        "reals": [0],
        "samples": [0, 96, 192],
        "samples/interpolation": [0, 96, 192],
    }


def test_the_undisturbed_run_is_whole(straight):
    _, run = straight
    assert_same(run, run)
    assert all(math.isfinite(v) for entry in logged(run) for v in entry.values())
    assert {path.name for path in (run / "samples").iterdir()} == {
        "reals.png",
        *(f"{images:012d}.png" for images in (0, 96, 192)),
    }
    tags = curves(run)
    assert {"loss/discriminator", "penalty/r1", "speed/seconds_per_kimg", "memory/peak_gib"} <= tags.keys()


def test_killed_at_random_moments(straight, tmp_path, monkeypatch):
    config, run = straight
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    moments = train_killed([str(config)], tmp_path / "run", kills=4, longest=9.0, seed=3)
    assert len(moments) >= 2
    assert_same(run, tmp_path / "run")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_asked_to_stop_it_saves_at_the_next_step_and_the_same_command_goes_on(straight, tmp_path, number):
    config, run = straight
    with start_hrgan("train", config, "--run", tmp_path / "run") as process:
        wait_for(process, "48/192 images")
        process.send_signal(number)
        rest = process.stderr.read()
        assert process.wait(60) == 0, rest
    assert f"stopped by {number.name} at " in rest
    stopped = logged(tmp_path / "run")[-1]["images_seen"]
    assert stopped < 192
    assert (tmp_path / "run" / "checkpoints" / f"{stopped:012d}" / "manifest.json").exists()
    done = hrgan("train", config, "--run", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert f"({stopped} images)" in done.stderr
    assert_same(run, tmp_path / "run")


def test_killed_while_it_saves_and_the_newest_checkpoint_damaged(straight, tmp_path):
    config, run = straight
    with start_hrgan("train", config, "--run", tmp_path / "run") as process:
        wait_for(process, "104/192 images")
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    kept = sorted((tmp_path / "run" / "checkpoints").glob("0*"))
    assert len(kept) >= 2  # one more if it died before it dropped the oldest
    weights = kept[-1] / "weights-00000-of-00001.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    done = hrgan("train", config, "--run", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert f"checkpoint passed over: {weights}" in done.stderr
    assert f"going on from {kept[-2]}" in done.stderr
    assert_same(run, tmp_path / "run")


def test_a_finished_run_is_left_as_it_is(straight):
    config, run = straight
    before = {path: path.stat().st_mtime_ns for path in (run / "checkpoints").rglob("*")}
    done = hrgan("train", config, "--run", run)
    assert done.returncode == 0, done.stderr
    assert "finished: 192 images" in done.stderr
    assert before == {path: path.stat().st_mtime_ns for path in (run / "checkpoints").rglob("*")}


def test_a_longer_length_goes_on_from_a_finished_run(shards, tmp_path):
    config = write_config(tmp_path / "a.yaml", shards, report={"tensorboard": False})
    for images in (24, 48):
        done = hrgan("train", config, f"length.images={images}", "--run", tmp_path / "two")
        assert done.returncode == 0, done.stderr
    done = hrgan("train", config, "length.images=48", "--run", tmp_path / "one")
    assert done.returncode == 0, done.stderr
    assert differences(tmp_path / "one", tmp_path / "two") == []


def test_a_time_limit_saves_and_ends_well(straight, tmp_path):
    config, _ = straight
    done = hrgan("train", config, "length.time=0.001s", "--run", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "stopped by the time limit (length.time) at 8 images" in done.stderr
    assert (tmp_path / "run" / "checkpoints" / f"{8:012d}" / "manifest.json").exists()
