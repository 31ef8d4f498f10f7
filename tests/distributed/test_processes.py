"""`hrgan train --processes 2`: the same run as with one process, and one clear line when a rank dies."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from launch.cluster.processes import free_port, rank_variables
from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from tests.distributed.gang import run_module
from tests.small_run import ROOT, environment, hrgan, logged, start_hrgan, wait_for, write_config
from tests.warm import start_warm
from tools.compare_runs import differences, newest_tensors

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    prepare("demo:digits", folder / "shards", Asked(resolution=8, channels=1, count=200))
    return write_config(folder / "c.yaml", folder / "shards", length={"images": 400})


def test_fifty_steps_equal_one_process_to_rounding(config, tmp_path):
    for processes in (1, 2):
        run = tmp_path / str(processes)
        done = hrgan("train", config, "--run", run, "--processes", processes)
        assert done.returncode == 0, done.stderr
    one, two = logged(tmp_path / "1"), logged(tmp_path / "2")
    assert [entry["images_seen"] for entry in one] == [entry["images_seen"] for entry in two]
    assert len(one) == 50
    for alone, together in zip(one, two, strict=True):
        for name in alone:
            if name.startswith(("loss/", "logits/", "penalty/", "path_length", "signs/")):
                assert together[name] == pytest.approx(alone[name], rel=2e-3, abs=2e-4), (name, alone)
    first, second = newest_tensors(tmp_path / "1"), newest_tensors(tmp_path / "2")
    assert first["memory/ada.p"] == second["memory/ada.p"]


def test_stopped_and_resumed_on_two_ranks_is_bitwise(config, tmp_path):
    arguments = ["train", str(config), "length.images=160", "--run"]
    run_module("launch.main", 2, [*arguments, str(tmp_path / "straight")])
    with start_hrgan(*arguments, tmp_path / "stopped", "--processes", 2) as process:
        wait_for(process, "images")
        process.send_signal(signal.SIGUSR1)
        rest = process.stderr.read()
        assert process.wait(60) == 0, rest
    assert "stopped by SIGUSR1 at " in rest
    run_module("launch.main", 2, [*arguments, str(tmp_path / "stopped")])
    assert differences(tmp_path / "straight", tmp_path / "stopped") == []


def test_a_dead_rank_ends_the_run_with_one_line(config, tmp_path):
    arguments = ("train", config, "length.images=100k", "--processes", 2, "--run", tmp_path / "run")
    with start_hrgan(*arguments) as process:
        wait_for(process, "images")
        ranks = [
            child for child in psutil.Process(process.pid).children() if child.environ().get("RANK") == "1"
        ]
        os.kill(ranks[0].pid, signal.SIGKILL)
        rest = process.stderr.read()
        assert process.wait(60) == 1, rest
    assert "hrgan: error: rank 1 was ended by SIGKILL" in rest
    assert "Traceback" not in rest


@pytest.mark.parametrize("hung", [0, 1])
def test_a_hung_rank_ends_the_run_with_one_line(config, tmp_path, hung):
    arguments = ("train", config, "length.images=100k", "engine.silence_seconds=6", "--processes", 2)
    with start_hrgan(*arguments, "--run", tmp_path / "run") as process:
        wait_for(process, "24/100")
        (rank,) = [c for c in psutil.Process(process.pid).children() if c.environ().get("RANK") == str(hung)]
        os.kill(rank.pid, signal.SIGSTOP)
        start = time.monotonic()
        rest = process.stderr.read()
        assert process.wait(60) == 1, rest
    assert time.monotonic() - start < 40
    assert f"hrgan: error: rank {hung} on {socket.gethostname()} has given no sign of life for" in rest
    step, images = map(int, re.search(r"the last step was (\d+), at (\d+) images", rest).groups())
    assert images == 8 * step >= 24
    assert "Traceback" not in rest


def test_without_a_supervisor_the_survivor_names_the_dead(config, tmp_path):
    """As under srun, where nobody else ends the other ranks."""
    program = ["-m", "launch.main", "train", str(config), "length.images=100k"]
    program += ["engine.silence_seconds=6", "--run", str(tmp_path / "run")]
    port = free_port()
    ranks = [start_warm(program, environment() | rank_variables(rank, 2, port), ROOT) for rank in range(2)]
    with ranks[0] as survivor, ranks[1] as dead:
        wait_for(survivor, "24/100")
        dead.kill()
        rest = survivor.stderr.read()
        assert survivor.wait(60) == 1, rest
    assert f"hrgan: error: rank 1 on {socket.gethostname()} has given no sign of life for" in rest
    assert "Traceback" not in rest


def test_ranks_do_not_outlive_a_killed_launcher(config, tmp_path):
    arguments = ("train", config, "length.images=100k", "--processes", 2, "--run", tmp_path / "run")
    process = start_hrgan(*arguments)
    wait_for(process, "images")
    ranks = psutil.Process(process.pid).children()
    assert len(ranks) == 2
    process.kill()
    process.wait()
    process.stderr.close()
    _, alive = psutil.wait_procs(ranks, timeout=60)
    assert not alive
    found = sorted((tmp_path / "run" / "checkpoints").glob("0*"))
    assert found  # they saved before they ended


LAUNCHERS = {
    # `--` keeps --run from torchrun's own --run-path.
    "torchrun": "torch.distributed.run --standalone --nproc-per-node 2 -m launch.main --",
    "accelerate": "accelerate.commands.launch --multi_gpu --num_machines 1 --num_processes 2 "
    "--main_process_port 0 --mixed_precision no --dynamo_backend no -m launch.main",
}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_standard_launcher_starts_the_same_run(config, tmp_path, launcher):
    command = [sys.executable, "-m", *LAUNCHERS[launcher].split(), "train", str(config), "length.images=40"]
    command += ["--run", str(tmp_path / "run")]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "batch 8 on 2 x cpu" in done.stderr
    assert logged(tmp_path / "run")[-1]["images_seen"] == 40
