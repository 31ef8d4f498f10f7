"""The step on a CUDA device: it runs, restarts to the bit, its flags arrive. `pytest -m gpu tests/gpu`"""

from __future__ import annotations

import copy

import pytest
import torch

from pipeline.config.families import StyleGAN2Config
from pipeline.contracts import Batch, ImageSpec, Process
from pipeline.engines.replicated import Replicated
from pipeline.models.registry import build_family
from pipeline.randomness import SampleRandomness
from pipeline.training.state import put_back, take
from pipeline.training.trainer import Trainer

pytestmark = pytest.mark.gpu


class Noise:
    damaged = 0

    def __init__(self, position: int = 0) -> None:
        self.position = position

    def draw(self, batch_size: int, times: int = 1) -> list[Batch]:
        batches = []
        for _ in range(times):
            seeds = range(self.position, self.position + batch_size)
            self.position += batch_size
            batches.append(Batch(SampleRandomness(seeds, "cuda").uniform(3, 32, 32) * 2 - 1))
        return batches


def trainer(position: int = 0, low_precision: torch.dtype | None = None) -> Trainer:
    config = StyleGAN2Config(channel_base=512, channel_max=32, mapping_layers=2, r1_every=2)
    family = build_family(config, ImageSpec(32, 32, 3), batch_size=8, low_precision=low_precision)
    torch.manual_seed(0)
    networks = family.networks()
    networks.generator.cuda()
    networks.discriminator.cuda()
    family.memory.cuda()
    engine = Replicated(Process(device=torch.device("cuda", 0)))
    engine.attach(networks, family.optimizers)
    return Trainer(family, networks, engine, Noise(position), seed=3)


@pytest.mark.parametrize("low_precision", [None, torch.bfloat16])
def test_a_restart_is_bitwise(low_precision):
    straight = trainer(low_precision=low_precision)
    for _ in range(3):
        straight.step()
    saved = copy.deepcopy(take(straight))
    for _ in range(3):
        straight.step()
    again = trainer(24, low_precision)
    put_back(again, saved)
    for _ in range(3):
        again.step()
    for group, tensors in take(straight).items():
        for name, value in tensors.items():
            assert torch.isfinite(value).all(), name
            assert torch.equal(value, take(again)[group][name]), name


def test_a_bad_update_is_skipped_on_the_device():
    run = trainer()
    run.step()
    before = copy.deepcopy(run.networks.generator.state_dict())
    run.engine.backward("generator", next(run.networks.generator.parameters()).sum() * float("nan"))
    assert not run.engine.step("generator", 0.1).finite
    for name, value in run.networks.generator.state_dict().items():
        assert torch.equal(value, before[name]), name
