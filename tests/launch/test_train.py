"""What `hrgan train` refuses, by message: one line, exit code 2, before any work starts."""

from __future__ import annotations

import dataclasses
import resource
import shutil
import subprocess
import sys

import pytest

from launch.assembly import dataset
from launch.assembly import training as start
from pipeline.config.load import read_dump
from pipeline.config.run import RunConfig
from pipeline.contracts import Process
from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from pipeline.data.shards.index import ShardIndex
from pipeline.errors import UserError
from tests.small_run import ROOT, environment, hrgan, logged, start_hrgan, wait_for, write_config
from tests.tiny_families import tiny_config


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    out = tmp_path_factory.mktemp("digits") / "shards"
    prepare("demo:digits", out, Asked(resolution=8, channels=1, count=60, shard_size=30))
    return out


def refused(*arguments: object) -> str:
    done = hrgan("train", *arguments)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.strip().splitlines()
    return line.removeprefix("hrgan: error: ")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.path=null", "data.path: not set"),
        ("data.path=/nowhere", "/nowhere"),
        ("data.path=ftp://host/x", "data.path: ftp://host/x: ftp: is not a scheme"),
        ("data.resolution=64", "data.resolution: the config expects 64px"),
        ("batch.size=6", "family.minibatch_stddev_group: 4 does not divide the 6 images"),
        ("batch.micro=2", "family.minibatch_stddev_group: 4 does not divide the 2 images"),
        ("engine.device=cuda", "engine.device=cuda: no CUDA device is visible"),
    ],
)
def test_a_setting_that_cannot_work(shards, tmp_path, override, message):
    config = write_config(tmp_path / "c.yaml", shards, family={"minibatch_stddev_group": 4})
    if "cuda" in override:
        import torch

        assert not torch.cuda.is_available() or pytest.skip("gpu: there is a CUDA device")
    line = refused(config, override, "--run", tmp_path / "run")
    assert message in line
    assert not (tmp_path / "run").exists()


def test_processes_that_do_not_divide_the_batch(shards, tmp_path):
    config = write_config(tmp_path / "c.yaml", shards)
    line = refused(config, "--run", tmp_path / "run", "--processes", 3)
    assert line == "batch.size=8: does not divide over 3 processes; allowed: a multiple of 3"


def test_images_that_the_family_cannot_make(tmp_path):
    prepare("demo:digits", tmp_path / "odd", Asked(resolution=22, channels=1, count=40))
    config = write_config(tmp_path / "c.yaml", tmp_path / "odd")
    assert "22x22" in refused(config, "--run", tmp_path / "run")


@pytest.mark.parametrize("name", ["biggan", "progan"])
def test_data_that_are_not_square_are_refused_before_training_and_at_submit(shards, tmp_path, name):
    shutil.copytree(shards, tmp_path / "wide")
    dataclasses.replace(ShardIndex.read(tmp_path / "wide"), width=16).write()
    config = RunConfig(family=tiny_config(name), data={"path": str(tmp_path / "wide")}, batch={"size": 8})
    with pytest.raises(UserError, match=rf"^{name} needs square images.* not 16x8; prepare the data with"):
        start.check_start(config, tmp_path / "run", 1)


def test_labels_that_are_not_there(shards, tmp_path):
    plain = tmp_path / "plain"
    shutil.copytree(shards, plain)
    dataclasses.replace(ShardIndex.read(plain), classes=()).write()
    config = write_config(tmp_path / "c.yaml", plain)
    assert "data.labels=true" in refused(config, "data.labels=true", "--run", tmp_path / "run")


def test_a_run_begins_with_anothers_weights(shards, tmp_path):
    config = write_config(tmp_path / "c.yaml", shards, length={"images": 16})
    assert hrgan("train", config, "--run", tmp_path / "one").returncode == 0
    more = (
        "data.labels=false",
        "family.ema_ramp=0.05",
        "length.images=24",
        f"start.source={tmp_path / 'one'}",
    )
    done = hrgan("train", config, *more, "--run", tmp_path / "two")
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("starting from")]
    assert "generator " in line
    assert "fresh: mapping." in line
    # Once it has a checkpoint of its own, where it began is of no account.
    again = hrgan("train", config, *more[:2], "length.images=32", "--run", tmp_path / "two")
    assert again.returncode == 0, again.stderr
    assert read_dump(tmp_path / "two" / "config.yaml").family.ema_ramp is None
    assert "going on from" in again.stderr
    assert "no such folder" in refused(config, "start.source=/nowhere", "--run", tmp_path / "three")


def test_a_run_of_another_config_and_one_in_use(shards, tmp_path):
    config = write_config(tmp_path / "c.yaml", shards, length={"images": 4000}, report={"tensorboard": False})
    with start_hrgan("train", config, "--run", tmp_path / "run") as process:
        wait_for(process, "images")
        assert "another process is writing this folder" in refused(config, "--run", tmp_path / "run")
        process.terminate()
        process.communicate(timeout=60)
    line = refused(config, "seed=6", "family.r1_gamma=3", "--run", tmp_path / "run")
    assert "belongs to another configuration (seed: 5 -> 6; family.r1_gamma: 0.1 -> 3.0)" in line
    begun = f"another --run folder that begins with start.source={tmp_path / 'run'}"
    assert line.endswith(f"{begun} (with start.keep=all it goes on from there)")


def test_a_run_from_before_images_were_mirrored_only_on_request_goes_on(shards, tmp_path):
    """Its settings stand in it; the files that it was begun with may say less than they did."""
    run, config = tmp_path / "run", write_config(tmp_path / "c.yaml", shards)
    assert hrgan("train", config, "length.images=24", "--run", run).returncode == 0
    assert "(data.mirror: true -> false)" in refused(config, "data.mirror=false", "--run", run)
    done = hrgan("train", run / "config.yaml", "length.images=32", "--run", run)
    assert done.returncode == 0, done.stderr
    assert "going on from" in done.stderr


def test_a_damaged_shard_is_named_with_its_key(shards, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(shards, broken)
    index = ShardIndex.read(broken)
    path = broken / index.shards[0].name
    data = bytearray(path.read_bytes())
    data[data.index(b"IDAT") + 9] ^= 0xFF
    path.write_bytes(data)
    config = write_config(tmp_path / "c.yaml", broken)
    done = hrgan("train", config, "--run", tmp_path / "run")
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert index.shards[0].name in done.stderr.splitlines()[-1]
    done = hrgan("train", config, "data.on_damage=skip", "length.images=64", "--run", tmp_path / "skip")
    assert done.returncode == 0, done.stderr
    assert index.shards[0].name in done.stderr
    assert "damaged images passed over 1 " in done.stderr
    assert logged(tmp_path / "skip")[-1]["data/damaged_images"] == 1


def test_one_process_of_each_machine_looks_at_the_shards_and_the_others_are_told(shards, monkeypatch):
    looks, told = [], []
    monkeypatch.setattr(ShardIndex, "check_sizes", lambda index: looks.append(index) or fail())
    monkeypatch.setattr(
        dataset, "from_all", lambda fault, process: told.append(fault) or [None, "0.tar: cut"]
    )

    def fail():
        raise UserError("0.tar: cut")

    config = RunConfig(family={"name": "stylegan2"}, data={"path": str(shards)})
    sets = dataset.open_data(config, look=False)
    for local_rank in (0, 1):
        with pytest.raises(UserError, match=r"^0\.tar: cut$"):
            dataset.look_at_shards(config, sets, Process(local_rank, 2, local_rank))
    assert (looks, told) == ([sets.first], ["0.tar: cut", None])


def test_no_room_for_a_checkpoint_is_one_line_and_the_older_one_stays(shards, tmp_path):
    config = write_config(tmp_path / "c.yaml", shards, report={"tensorboard": False})
    done = hrgan("train", config, "length.images=24", "--run", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    done = subprocess.run(
        [sys.executable, "-m", "launch.main", "train", str(config), "--run", str(tmp_path / "run")],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000)),
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "cannot write: the file would be larger than allowed here" in done.stderr
    assert (tmp_path / "run" / "checkpoints" / f"{24:012d}" / "manifest.json").exists()


def test_a_run_that_cannot_go_on_says_where_it_stands(shards, tmp_path):
    config = write_config(tmp_path / "c.yaml", shards, engine={"bad_steps": 3})
    done = hrgan("train", config, "family.r1_gamma=1e38", "family.r1_every=1", "--run", tmp_path / "run")
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "updates in a row of one phase had gradients that are not finite" in done.stderr
