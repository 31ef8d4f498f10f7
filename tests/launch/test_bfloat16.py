"""bfloat16 on a CPU without it: what a run computes in, what it says, and that no restart changes it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from launch.assembly import precision
from launch.main import main
from ops.bfloat16 import computes_bfloat16
from pipeline.config.load import read_dump
from pipeline.config.run import EngineConfig, RunConfig
from pipeline.contracts import Process
from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from pipeline.storage.checkpoints import CheckpointStore
from pipeline.storage.snapshots import list_snapshots, open_snapshot
from tests.small_run import write_config

BEGINS = "this run computes in float32 from beginning to end"
STAYS = "this run began in float32 (engine.computes) and stays in it"
SLOW = "the run keeps what it began with"


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bfloat16")
    prepare("demo:digits", root / "data", Asked(resolution=16, channels=1, count=40))
    return root / "data"


class Machine:
    """Trains here as on CPUs with and without bfloat16."""

    def __init__(self, shards, folder, monkeypatch, capsys):
        self._shards, self._folder, self._patch, self._said = shards, folder, monkeypatch, capsys

    def train(self, run: str, images: int, *, able: bool, asks: str = "bfloat16", more=()) -> list[str]:
        """Warnings of a run, up to so many images in all."""
        self._patch.setattr(precision, "computes_bfloat16", lambda device: able)
        settings = {"engine": {"precision": asks}, "length": {"images": images}}
        config = write_config(self._folder / "c.yaml", self._shards, **settings)
        self._said.readouterr()
        self.code = main(["train", str(config), *more, "--run", str(self._folder / run)])
        lines = self._said.readouterr().err.splitlines()
        return [line for line in lines if "warning" in line or "error" in line]

    def recorded(self, run: str) -> EngineConfig:
        return read_dump(self._folder / run / "config.yaml").engine

    def weights(self, run: str) -> dict[str, Tensor]:
        found = CheckpointStore(self._folder / run, 3).newest(print)
        assert found is not None
        groups = found.load()
        return {f"{group}.{name}": t for group, tensors in groups.items() for name, t in tensors.items()}


@pytest.fixture
def machine(shards, tmp_path, monkeypatch, capsys) -> Machine:
    return Machine(shards, tmp_path, monkeypatch, capsys)


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_that_begins_without_computes_in_float32_wherever_it_goes_on(machine, tmp_path):
    (line,) = machine.train("run", 8, able=False)
    assert line.endswith(BEGINS)
    (line,) = machine.train("run", 16, able=True)
    assert line.endswith(STAYS)
    assert (machine.recorded("run").precision, machine.recorded("run").computes) == ("bfloat16", "float32")
    assert not machine.train("plain", 16, able=True, asks="float32")
    assert equal(machine.weights("run"), machine.weights("plain"))
    assert open_snapshot(list_snapshots(tmp_path / "run")[-1]).precision == "float32"


def test_a_run_that_began_in_bfloat16_stays_in_it(machine):
    assert not machine.train("run", 8, able=True)
    (line,) = machine.train("run", 16, able=False)
    assert line.endswith(SLOW)
    assert machine.recorded("run").computes == "bfloat16"
    assert not machine.train("whole", 16, able=True)
    assert equal(machine.weights("run"), machine.weights("whole"))
    assert not machine.train("plain", 16, able=True, asks="float32")
    assert not equal(machine.weights("run"), machine.weights("plain"))


def test_a_run_from_before_there_was_a_choice_goes_on_as_it_was(machine, tmp_path):
    machine.train("run", 8, able=True)
    path = tmp_path / "run" / "config.yaml"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line for line in lines if "computes:" not in line))
    (line,) = machine.train("run", 16, able=False)
    assert line.endswith(SLOW)


def test_what_is_asked_for_by_name_is_done_or_refused(machine):
    (line,) = machine.train("run", 8, able=False, more=["engine.computes=bfloat16"])
    assert line.endswith(SLOW)
    machine.train("other", 8, able=False)
    (line,) = machine.train("other", 16, able=True, more=["engine.computes=bfloat16"])
    assert machine.code == 2
    assert 'engine.computes: "float32" -> null' in line
    (line,) = machine.train("third", 8, able=True, asks="float32", more=["engine.computes=bfloat16"])
    assert machine.code == 2
    assert "engine.computes" in line


def test_ranks_agree_on_what_the_weakest_can_do(monkeypatch):
    config = RunConfig(family={"name": "stylegan2"}, engine={"precision": "bfloat16"})
    told = []
    for others, wanted in (([True, True], "bfloat16"), ([True, False], "float32")):
        monkeypatch.setattr(precision, "from_all", lambda able, process, others=others: others)
        for rank in (0, 1):
            process = Process(rank=rank, world_size=2)
            decided = precision.with_computed_precision(config, process, told.append)
            assert decided.engine.computes == wanted
    assert len(told) == 1


@pytest.mark.parametrize("held", ["AVX2", "avx512_core", "AVX512_CORE_VNNI"])
@pytest.mark.parametrize("name", ["ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"])
def test_a_processor_that_is_held_back_has_none(monkeypatch, held, name):
    monkeypatch.setenv(name, held)
    assert not computes_bfloat16(torch.device("cpu"))
    assert computes_bfloat16(torch.device("cuda"))


def test_it_is_there_where_the_system_says_so():
    flags = Path("/proc/cpuinfo").read_text()
    held = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA")
    if not held:
        assert computes_bfloat16(torch.device("cpu")) == ("avx512_bf16" in flags)


@pytest.mark.parametrize(
    ("family", "able", "warned"),
    [
        ({"penalty_method": "finite_difference"}, True, True),
        ({"penalty_method": "finite_difference"}, False, False),  # computes in float32
        ({"penalty_method": "finite_difference", "penalty_step": 0.05}, True, False),
        ({"penalty_method": "finite_difference", "r1_gamma": 0.0}, True, False),
        ({}, True, False),
    ],
)
def test_differences_that_bfloat16_would_round_away_are_told(monkeypatch, family, able, warned):
    monkeypatch.setattr(precision, "computes_bfloat16", lambda device: able)
    config = RunConfig.model_validate(
        {"family": {"name": "stylegan2", **family}, "engine": {"precision": "bfloat16"}}
    )
    told: list[str] = []
    precision.with_computed_precision(config, Process(), told.append)
    assert any("family.penalty_step=0.01 with engine.precision=bfloat16" in line for line in told) == warned
    assert len(told) == (warned or not able)
