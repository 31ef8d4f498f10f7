"""Which turns are captured; `CudaGraphs` itself runs on a GPU (tests/gpu)."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from pipeline.contracts import Networks, Process
from pipeline.engines.replicated import Replicated
from pipeline.training.graphs import CudaGraphs, Packed, graphs_for
from tests.tiny_families import seeded_networks, tiny_family

GPU = torch.device("cuda", 0)


def engine_on(device: torch.device, world_size: int = 1, local: bool = True):
    return SimpleNamespace(process=Process(0, world_size, 0, device), backward_is_local=local)


def networks(name: str = "stylegan2") -> Networks:
    return seeded_networks(tiny_family(name))


class Nothing:
    """Stands for what torch.cuda gives: streams and graphs that do nothing by themselves."""

    entered = 0

    def __init__(self, *args, **settings) -> None:
        self.settings = settings

    def wait_stream(self, other) -> None:
        assert isinstance(other, Nothing)

    def replay(self) -> None:
        Nothing.entered += 1

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        pass


@pytest.fixture
def cuda(monkeypatch):
    for name in ("Stream", "current_stream", "stream", "CUDAGraph", "graph", "graph_pool_handle"):
        monkeypatch.setattr(torch.cuda, name, Nothing)
    Nothing.entered = 0


def test_a_cpu_has_no_graphs_and_says_nothing():
    lines: list[str] = []
    assert graphs_for(Replicated(Process()), networks(), lines.append) is None
    assert lines == []


@pytest.mark.parametrize(
    ("name", "world_size", "local", "said"),
    [
        ("stylegan2", 1, True, None),
        ("stylegan2", 4, True, None),
        ("stylegan2", 4, False, "exchanges gradients during the backward pass"),
        ("biggan", 1, True, None),
        ("biggan", 2, True, "batch statistics are exchanged"),
    ],
)
def test_graphs_are_for_phases_that_exchange_nothing(cuda, name, world_size, local, said):
    lines: list[str] = []
    graphs = graphs_for(engine_on(GPU, world_size, local), networks(name), lines.append)
    assert (graphs is None) == (said is not None)
    assert len(lines) == (said is not None)
    assert said is None or said in lines[0]


def test_buckets_are_not_local():
    assert Replicated(Process()).backward_is_local
    assert Replicated(Process(world_size=1), bucket_mb=1).backward_is_local  # nobody to send them to
    assert not Replicated(Process(world_size=2), bucket_mb=1).backward_is_local


def test_stats_of_a_replay_are_copies_of_what_the_graph_holds(cuda):
    graphs = CudaGraphs(GPU, pytest.fail)
    held = {"loss": torch.tensor(1.0), "w_mean": torch.tensor([2.0, 3.0])}
    assert graphs.warm(lambda: held) is held
    replay = graphs.capture(lambda: held)
    first = replay()
    assert Nothing.entered == 1
    assert {name: value.tolist() for name, value in first.items()} == {"loss": 1.0, "w_mean": [2.0, 3.0]}


def test_packed_stats_are_read_anew_and_earlier_copies_stay():
    packed = Packed({"a": torch.tensor(1.0), "b": torch.ones(2, 2)})
    before = packed.copy()
    packed._flat.fill_(5)
    assert before["a"] == 1
    assert before["b"].shape == (2, 2)
    assert packed.copy()["b"].tolist() == [[5, 5], [5, 5]]


def test_what_cannot_be_captured_is_said_in_a_line(cuda):
    lines: list[str] = []

    def waits():
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    assert CudaGraphs(GPU, lines.append).capture(waits) is None
    (line,) = lines
    assert "without CUDA graphs, slower: operation not permitted when stream is capturing" in line
    assert "\n" not in line
