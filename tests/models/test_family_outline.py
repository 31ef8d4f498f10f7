"""The outline of a family in pipeline/models/README.md is one: it trains."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn

from pipeline import contracts, losses
from pipeline.contracts import ImageSpec, Process, Stage
from pipeline.engines.replicated import Replicated
from pipeline.training.trainer import Trainer
from tests.toy import SIZE, ToySampler, ToyStream

README = Path(contracts.__file__).parent / "models" / "README.md"


@dataclass(frozen=True)
class YourSchedule:
    batch_size: int

    def at(self, images_seen: int) -> Stage:
        rates = {"generator": 0.01, "discriminator": 0.01}
        return Stage(SIZE, 1.0, self.batch_size, rates, ema_beta=0.5)


def your_networks() -> dict[str, object]:
    def generator() -> nn.Module:
        return nn.Sequential(nn.Linear(64, SIZE * SIZE), nn.Unflatten(1, (1, SIZE, SIZE)))

    def discriminator() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(SIZE * SIZE, 1), nn.Flatten(0))

    return {"YourGenerator": generator, "YourDiscriminator": discriminator}


def test_the_outline_is_a_family():
    (outline,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    names = {**vars(contracts), **vars(losses), **your_networks()}
    names |= {"YourSchedule": YourSchedule, "YourSampler": ToySampler}
    exec(compile(outline, str(README), "exec"), names)
    family = names["YourFamily"](SimpleNamespace(r1_gamma=1.0), ImageSpec(SIZE, SIZE, 1), batch_size=8)
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
