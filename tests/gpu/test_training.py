"""The step on a CUDA device: it runs, restarts to the bit, its flags arrive. `pytest -m gpu tests/gpu`"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch

from pipeline.contracts import Process
from pipeline.kernels import deterministic
from pipeline.models.registry import FAMILIES
from pipeline.training.graphs import CudaGraphs
from pipeline.training.state import put_back, take
from pipeline.training.trainer import Trainer
from tests.tiny_families import FLOAT32_ALONE, DigitStream, tiny_family, tiny_trainer

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def _repeatable() -> Iterator[None]:
    with deterministic():
        yield


def trainer(name: str, low_precision: torch.dtype | None = None) -> Trainer:
    process = Process(device=torch.device("cuda", 0))
    return tiny_trainer(tiny_family(name, low_precision=low_precision), process=process)


@pytest.mark.parametrize(
    ("name", "low_precision"),
    [
        *((name, None) for name in sorted(FAMILIES)),
        *((name, torch.bfloat16) for name in sorted(set(FAMILIES) - set(FLOAT32_ALONE))),
    ],
)
def test_a_restart_is_bitwise(name, low_precision):
    straight = trainer(name, low_precision)
    for _ in range(3):
        straight.step()
    saved = copy.deepcopy(take(straight))
    for _ in range(3):
        straight.step()
    again = trainer(name, low_precision)
    put_back(again, saved)
    process = again.engine.process
    again.stream = DigitStream(again.family.spec, again.progress.images_seen, process)
    for _ in range(3):
        again.step()
    for group, tensors in take(straight).items():
        for key, value in tensors.items():
            assert torch.isfinite(value).all(), key
            assert torch.equal(value, take(again)[group][key]), key


def test_a_bad_update_is_skipped_on_the_device():
    run = trainer("stylegan2")
    run.step()
    before = copy.deepcopy(run.networks.generator.state_dict())
    run.engine.backward("generator", next(run.networks.generator.parameters()).sum() * float("nan"))
    assert not run.engine.step("generator", 0.1).finite
    for name, value in run.networks.generator.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_graphs_change_no_bit(name):
    process = Process(device=torch.device("cuda", 0))
    graphs = CudaGraphs(process.device, pytest.fail)
    eager, replaying = trainer(name), tiny_trainer(tiny_family(name), process=process, graphs=graphs)
    for _ in range(6):
        eager.step()
        replaying.step()
    for group, tensors in take(eager).items():
        for key, value in tensors.items():
            assert torch.equal(value, take(replaying)[group][key]), key
    assert eager.meters.flush() == replaying.meters.flush()
