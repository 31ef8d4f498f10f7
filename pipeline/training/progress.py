"""The position of a run, from which the order of the data, all seeds and the stage follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Progress:
    """The position of a run.

    images_seen: real images drawn by all ranks together. step: the number of completed steps. growth: that of
    the stage of the last step.
    """

    images_seen: int = 0
    step: int = 0
    growth: int = 0

    def advance(self, images: int) -> None:
        """Counts one completed step over `images` real images."""
        self.images_seen += images
        self.step += 1

    def state(self) -> dict[str, Tensor]:
        """Returns the position as tensors, for a checkpoint."""
        return {name: torch.tensor(value) for name, value in vars(self).items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        for name in vars(self):
            setattr(self, name, int(state[name]))


def crossed(before: int, after: int, every: int) -> bool:
    """Returns whether a multiple of `every` lies in (before, after]."""
    return before // every != after // every
