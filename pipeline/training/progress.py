"""Where a run stands: the only position there is, from which order, seeds and stage follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Progress:
    """images_seen: real images drawn by all ranks together. step: steps done. growth: of the last step."""

    images_seen: int = 0
    step: int = 0
    growth: int = 0

    def advance(self, images: int) -> None:
        """One step over `images` real images is done."""
        self.images_seen += images
        self.step += 1

    def state(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        return {name: torch.tensor(value) for name, value in vars(self).items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        for name in vars(self):
            setattr(self, name, int(state[name]))


def crossed(before: int, after: int, every: int) -> bool:
    """True if a multiple of `every` lies in (before, after]."""
    return before // every != after // every
