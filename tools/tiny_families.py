"""Every family at a size that can be run by the hundred, with seeded weights and digits to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import TypeAdapter
from sklearn.datasets import load_digits

from launch.assembly.trainer import assemble
from pipeline.config.families import FamilyConfig
from pipeline.config.run import EngineConfig
from pipeline.contracts import Batch, Engine, Family, ImageSpec, Networks, Process
from pipeline.float32 import Tf32
from pipeline.models.registry import build_family
from pipeline.randomness import seed_everything
from pipeline.training.trainer import Trainer
from pipeline.training.turns import Graphs

SIDE = 8
BATCH = 8
DIGITS = ImageSpec(SIDE, SIDE, 1, 10)
PLAIN = ImageSpec(SIDE, SIDE, 1)

TINY: dict[str, dict[str, Any]] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text())
"""A config by family name."""


def tiny_config(name: str, **changes: Any) -> FamilyConfig:
    """Returns the configuration of a tiny family, with some keys changed."""
    return TypeAdapter(FamilyConfig).validate_python({"name": name, **TINY[name], **changes})


def tiny_family(
    name: str, spec: ImageSpec = DIGITS, low_precision: torch.dtype | None = None, **changes: Any
) -> Family:
    """Returns the family of that configuration, by default for labelled digits."""
    return build_family(tiny_config(name, **changes), spec, batch_size=BATCH, low_precision=low_precision)


def seeded_networks(family: Family, seed: int = 1) -> Networks:
    """Returns fresh networks, which are the same for the same seed."""
    seed_everything(seed)
    return family.networks()


def tiny_trainer(
    family: Family,
    *,
    seed: int = 3,
    micro: int | None = None,
    process: Process | None = None,
    engine: Engine | None = None,
    tf32: Tf32 = "off",
    graphs: Graphs | None = None,
    widths: Sequence[float] = (0.05,),
) -> Trainer:
    """Returns a trainer on digits. engine: by default `replicated` on `process`. widths: of the averages that
    are tracked."""
    process = engine.process if engine else process or Process()
    return assemble(
        family,
        process,
        seed=seed,
        micro=micro,
        settings=EngineConfig(tf32=tf32, graphs="off"),
        networks=seeded_networks(family),
        engine=engine,
        stream=DigitStream(family.spec, process=process),
        graphs=graphs,
        widths=widths,
    )


class DigitStream:
    """Draws digits of 8px, or of any smaller power of two, as a function of position; dealt to ranks in
    turn."""

    damaged = retries = 0

    def __init__(
        self, spec: ImageSpec = DIGITS, images_seen: int = 0, process: Process | None = None
    ) -> None:
        self.process = process or Process()
        digits = load_digits()
        self.images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 8 - 1
        self.labels = torch.tensor(digits.target)
        self.labelled = bool(spec.classes)
        self.position = images_seen
        self._spec, self._begin = spec, images_seen

    @cached_property
    def others(self) -> DigitStream:
        others = DigitStream(self._spec, self._begin, self.process)
        others.images, others.labels = others.images.flip(0), others.labels.flip(0)
        return others

    def draw(self, batch_size: int, times: int = 1, *, resolution: int | None = None) -> list[Batch]:
        return [self._next(batch_size, resolution or SIDE) for _ in range(times)]

    def _next(self, count: int, resolution: int) -> Batch:
        rank, ranks, device = self.process.rank, self.process.world_size, self.process.device
        places = torch.arange(self.position + rank, self.position + count, ranks) % len(self.images)
        self.position += count
        images = torch.nn.functional.avg_pool2d(self.images[places], SIDE // resolution)
        return Batch(images.to(device), self.labels[places].to(device) if self.labelled else None)
