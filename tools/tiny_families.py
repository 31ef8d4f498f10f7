"""Every family at a size that can be run by the hundred, with seeded weights and digits to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import TypeAdapter
from sklearn.datasets import load_digits
from torch import Tensor, nn

from launch.assembly.trainer import assemble
from pipeline.config.families import FamilyConfig
from pipeline.config.run import EngineConfig
from pipeline.contracts import (
    SECOND,
    Batch,
    Conditional,
    Engine,
    Family,
    Field,
    ImageSpec,
    Networks,
    Process,
    Sampler,
    Stage,
)
from pipeline.float32 import Tf32
from pipeline.models.registry import build_family
from pipeline.randomness import seed_everything
from pipeline.training.trainer import Trainer
from pipeline.training.turns import Graphs

SIDE = 8
BATCH = 8
DIGITS = ImageSpec(SIDE, SIDE, 1, 10)
PLAIN = ImageSpec(SIDE, SIDE, 1)
_WORDS = ("a zero", "a one", "two", "three, 3", "four", "the five", "a six", "Seven", "eight", "and nine")

_PARTS: dict[str, Any] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text())
TINY: dict[str, dict[str, Any]] = _PARTS["families"]
"""A config by family name."""
FIELDS: dict[str, tuple[Field, ...]] = {
    name: tuple(Field(**{**each, "shape": tuple(each["shape"])}) for each in fields)
    for name, fields in _PARTS["fields"].items()
}
"""What samples have beside their images, for families that need it."""


def tiny_config(name: str, **changes: Any) -> FamilyConfig:
    """Returns the configuration of a tiny family, with some keys changed."""
    return TypeAdapter(FamilyConfig).validate_python({"name": name, **TINY[name], **changes})


def tiny_family(
    name: str, spec: ImageSpec = DIGITS, low_precision: torch.dtype | None = None, **changes: Any
) -> Family:
    """Returns the family of that configuration, by default for labelled digits."""
    spec = spec if spec.fields else replace(spec, fields=FIELDS.get(name, ()))
    return build_family(tiny_config(name, **changes), spec, batch_size=BATCH, low_precision=low_precision)


def seeded_networks(family: Family, seed: int = 1) -> Networks:
    """Returns fresh networks, which are the same for the same seed."""
    seed_everything(seed)
    return family.networks()


def tiny_sampler(family: Family, generator: nn.Module, stage: Stage | None = None) -> Sampler:
    """Returns the family's sampler; one that makes images of what it is given is given digits."""
    sampler = family.sampler(generator, stage)
    return sampler.over(DigitStream(family.spec)) if isinstance(sampler, Conditional) else sampler


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
        rows = [list(_WORDS[label].encode().ljust(12, b"\0")) for label in digits.target]
        self.texts = torch.tensor(rows, dtype=torch.uint8)
        self.labelled = bool(spec.classes)
        self.position = images_seen
        self._spec, self._begin = spec, images_seen

    @cached_property
    def others(self) -> DigitStream:
        others = DigitStream(self._spec, self._begin, self.process)
        for name in ("images", "labels", "texts"):
            setattr(others, name, getattr(others, name).flip(0))
        return others

    def draw(self, batch_size: int, times: int = 1, *, resolution: int | None = None) -> list[Batch]:
        return [self._next(batch_size, resolution or SIDE) for _ in range(times)]

    def _next(self, count: int, resolution: int) -> Batch:
        rank, ranks = self.process.rank, self.process.world_size
        places = torch.arange(self.position + rank, self.position + count, ranks) % len(self.images)
        self.position += count
        return self._at(places, resolution)

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, numbers: Sequence[int]) -> Batch:
        """Returns the digits of these numbers, as `contracts.DataSet` does."""
        return self._at(torch.tensor(numbers), SIDE)

    def _sized(self, images: Tensor) -> Tensor:
        height, width, channels = self._spec.height, self._spec.width, self._spec.channels
        sides = SIDE * height // min(height, width), SIDE * width // min(height, width)
        if sides != (SIDE, SIDE):
            images = torch.nn.functional.interpolate(images, size=sides)
        return images.expand(-1, channels, -1, -1)

    def _at(self, places: Tensor, resolution: int) -> Batch:
        device = self.process.device
        whole = self._sized(self.images[places])
        images = torch.nn.functional.avg_pool2d(whole, SIDE // resolution).to(device)
        # An image field is the silhouette, black on white; a text names the digit.
        beside = {"image": torch.where(images[:, :1] > 0, -1.0, 1.0), "text": self.texts[places].to(device)}
        extra = {field.name: beside[field.kind] for field in self._spec.fields if field.kind in beside}
        if any(field.name == "triples" for field in self._spec.fields):
            extra |= {name: value.to(device) for name, value in _scenes(whole, self.labels[places]).items()}
        # A second set is the negatives of the digits in the opposite order.
        extra[SECOND] = -self._sized(self.images[-1 - places]).to(device)
        return Batch(images, self.labels[places].to(device) if self.labelled else None, extra)


def _scenes(images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Scenes of digits: the digit, which is inside of its paper; paper is named beside every second kind."""
    ink = images.mean(dim=1) > 0
    ends = []
    for dim in (1, 2):
        there = ink.any(dim=dim).float()
        length = there.shape[1]
        ends.append((there.argmax(dim=1) / length, 1 - there.flip(1).argmax(dim=1) / length))
    (left, right), (top, bottom) = ends
    paper = labels % 2
    boxes = torch.zeros(len(labels), 3, 4)
    boxes[:, 0] = torch.stack([left, top, right, bottom], dim=1)
    boxes[:, 1, 2:] = paper[:, None].float()
    objects, triples = torch.zeros(len(labels), 3), torch.zeros(len(labels), 2, 3)
    objects[:, 0], objects[:, 1] = labels + 1, 11 * paper
    triples[:, 0, 1], triples[:, 0, 2] = paper, paper
    return {"objects": objects.short(), "boxes": boxes, "triples": triples.short()}
