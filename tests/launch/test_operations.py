"""Commands and compiled operations: when they are compiled, who says what, what is refused."""

from __future__ import annotations

import pytest
import torch

import ops
from launch.assembly import operations
from launch.assembly import training as train
from pipeline.config.load import load_config
from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from pipeline.errors import UserError
from tests.small_run import ROOT, environment, write_config
from tests.warm import run_warm


@pytest.fixture
def config(tmp_path):
    shards = tmp_path / "shards"
    prepare("demo:digits", shards, Asked(resolution=8, channels=1, count=60, shard_size=30))
    return write_config(tmp_path / "c.yaml", shards, length={"images": 16}, report={"tensorboard": False})


def without_compiler(config, run, *arguments):
    env = {**environment(), "CXX": "no-such-compiler", "HRGAN_OPS_CACHE": str(run.parent / "cache")}
    program = ("-m", "launch.main", "train", config, "--run", run, *arguments)
    (done,) = run_warm([list(map(str, program))], [env], ROOT, 240)
    return done


def test_ranks_train_without_a_compiler_and_one_of_them_says_so(config, tmp_path):
    done = without_compiler(config, tmp_path / "run", "--processes", 2)
    assert done.returncode == 0, done.stderr
    warnings = [line for line in done.stderr.splitlines() if "operations" in line]
    assert warnings == [
        "hrgan: warning: operations run as plain PyTorch, slower: "
        "cpu: $CXX=no-such-compiler is not on PATH: apt install g++, or set CXX"
    ]


@pytest.mark.parametrize("processes", [1, 2])
def test_native_without_a_compiler_is_refused_before_the_run_begins(config, tmp_path, processes):
    done = without_compiler(config, tmp_path / "run", "ops.backend=native", "--processes", processes)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("hrgan: error: ops.backend=native, but cpu: $CXX=no-such-compiler is not on PATH")
    assert not (tmp_path / "run").exists()


def test_the_launcher_compiles_before_it_starts_ranks(config, tmp_path, monkeypatch):
    steps = []
    monkeypatch.setattr(
        ops, "prepare", lambda backend, **options: steps.append((backend, options["devices"]))
    )
    monkeypatch.setattr(train, "run_ranks", lambda arguments, count, record: steps.append(count) or 0)
    settings = load_config(config, ["engine.device=cpu"])
    assert train.train(settings, tmp_path / "run", 2) == 0
    assert steps == [("auto", ("cpu",)), 2]


def test_an_unknown_backend_in_the_environment_is_wrong_usage(monkeypatch):
    monkeypatch.setenv("HRGAN_OPS_BACKEND", "fast")
    with pytest.raises(UserError, match=r"\$HRGAN_OPS_BACKEND: 'fast' is unknown; allowed: auto, native"):
        operations.use_operations("auto", torch.device("cpu"))


def test_nothing_is_compiled_after_the_start(monkeypatch):
    ops.use("auto", devices=("cpu",))

    def obtain(*arguments, **options):
        raise AssertionError("compiled in a step")

    monkeypatch.setattr("ops.build.obtain", obtain)
    x = torch.randn(1, 2, 8, 8, requires_grad=True)
    y = ops.upfirdn2d(ops.bias_act(x, act="lrelu"), ops.setup_filter([1, 3, 3, 1]), up=2)
    (grad,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    grad.square().sum().backward()
