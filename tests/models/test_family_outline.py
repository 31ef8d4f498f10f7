"""The outline of a family in pipeline/models/README.md is one: it trains."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline import contracts
from pipeline.config.families import Objectives, Optimisation
from pipeline.contracts import ImageSpec, Process, Verdict
from pipeline.engines.replicated import Replicated
from pipeline.models import phases, plain, schedule
from pipeline.training.trainer import Trainer
from tests.toy import SIZE, ToyStream

README = Path(plain.__file__).with_name("README.md")


class YourGenerator(nn.Module):
    z_dim, classes = 64, 0

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, SIZE * SIZE), nn.Unflatten(1, (1, SIZE, SIZE)))

    def forward(self, z, labels, *, exact=False):
        return self.decode(self.code(z, labels))

    def code(self, z, labels):
        return z

    def decode(self, code, *, exact=False):
        return self.body(code)

    def code_weight(self):
        return self.body[0].weight


class YourDiscriminator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(SIZE * SIZE, 1), nn.Flatten(0))

    def forward(self, images, labels, *, exact=False):
        return Verdict(self.body(images))


class YourConfig(Objectives, Optimisation):
    r1_gamma: float = 1.0
    r1_every: int = 16


OUTLINES = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("outline", OUTLINES, ids=["short", "spelt out"])
def test_the_outline_is_a_family(outline):
    names = {**vars(contracts), **vars(phases), **vars(schedule), **vars(plain)}
    names |= {"YourGenerator": YourGenerator, "YourDiscriminator": YourDiscriminator}
    exec(compile(outline, str(README), "exec"), names)
    family = names["YourFamily"](YourConfig(), ImageSpec(SIZE, SIZE, 1), batch_size=8)
    asked = {name for name in (*vars(contracts.Family), *contracts.Family.__annotations__) if name[0] != "_"}
    assert asked <= set(dir(family))
    networks = family.networks()
    engine = Replicated(Process())
    engine.attach(networks, family.optimizers)
    before = [p.clone() for _, net in networks.items() for p in net.parameters()]
    trainer = Trainer(family, networks, engine, ToyStream(), seed=0)
    trainer.step()
    after = [p for _, net in networks.items() for p in net.parameters()]
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert trainer.progress.images_seen == 8
    assert family.sampler(networks.generator).draw([1, 2]).images.shape == (2, 1, SIZE, SIZE)
