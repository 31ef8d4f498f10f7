"""The schedule of families whose rates fall at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pipeline.config.families import Decaying
from pipeline.contracts import Scalar, Stage
from pipeline.models.schedule import ConstantSchedule, with_rates


@dataclass(frozen=True)
class DecayingSchedule(ConstantSchedule):
    """One stage whose rates may fall linearly to 0 (`Decaying`). begins: the images seen from which on each
    weight is among the stage's, with that weight, by name."""

    begins: Mapping[str, tuple[int, float]] = field(default_factory=dict)

    def at(self, images_seen: int) -> Stage:
        config = self.config
        assert isinstance(config, Decaying)
        stage = super().at(images_seen)
        weights: dict[str, Scalar] = {
            name: weight for name, (begin, weight) in self.begins.items() if images_seen >= begin
        }
        if config.decay_from_images is None:
            return replace(stage, weights=weights)
        left = max(0.0, min(1.0, 1 - (images_seen - config.decay_from_images) / config.decay_images))
        return with_rates(replace(stage, weights=weights), left)
