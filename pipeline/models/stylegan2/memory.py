"""What StyleGAN2 remembers across steps beside weights, as buffers: the mean path length and ADA's state.

The stats of a step whose update was skipped may not be finite; then nothing is updated. This is decided on
the device, without waiting for it.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pipeline.config.families import StyleGAN2Config
from pipeline.contracts import ImageSpec, Randomness
from pipeline.models.augment import Augment, Controller, Drawn
from pipeline.models.phases import LossMemory


class Memory(nn.Module):
    """The memory of StyleGAN2.

    path_length_mean: the running mean of path lengths, 0-d. ada: the controller of p. augment: the
    augmentation whose probability is p, or None. It holds only constants, none of which is saved, and is a
    part of this module so that they move to the device.
    """

    path_length_mean: Tensor

    def __init__(self, config: StyleGAN2Config, spec: ImageSpec) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("path_length_mean", torch.tensor(0.0))
        self.losses = LossMemory(config)
        self.ada = Controller(config.ada)
        off = config.ada.mode == "off"
        self.augment = None if off else Augment(config.ada, (spec.height, spec.width), spec.channels)

    def augmentation(self, randomness: Randomness) -> Drawn:
        """Draws the augmentation of a batch with the current p."""
        assert self.augment is not None
        return self.augment.draw(randomness, self.ada.p)

    @torch.no_grad()
    def observe(self, stats: Mapping[str, Tensor], images: int) -> None:
        """Updates the memory with the stats of a step, as far as the step has produced them."""
        self.losses.observe(stats, images)
        if "path_length" in stats:
            pull(self.path_length_mean, stats["path_length"], self.config.path_length_decay)
        if "signs/real" in stats:
            self.ada.observe(stats["signs/real"], images)


def pull(mean: Tensor, value: Tensor, weight: float) -> None:
    """Moves a running mean in place towards `value` by `weight`, if all of `value` is finite."""
    moved = mean.lerp(value.to(mean.dtype), weight)
    mean.copy_(torch.where(torch.isfinite(value).all(), moved, mean))
