"""What StyleGAN2 remembers across steps beyond weights, as buffers: the path-length mean and ADA's state.

What a step reports may be not finite, if its update was skipped: then nothing moves. That is decided on
the device, without waiting for it.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pipeline.config.families import StyleGAN2Config
from pipeline.contracts import ImageSpec, Randomness
from pipeline.models.augment import AdaController, Augment, Drawn
from pipeline.models.phases import LossMemory


class Memory(nn.Module):
    """path_length_mean: 0-d, the running mean of path lengths. ada: the controller of p.

    augment: what p governs, None without; it holds constants, and stands here so as to move to the device
    with p. Nothing of it is saved.
    """

    path_length_mean: Tensor

    def __init__(self, config: StyleGAN2Config, spec: ImageSpec) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("path_length_mean", torch.tensor(0.0))
        self.losses = LossMemory(config)
        self.ada = AdaController(config.ada)
        off = config.ada.mode == "off"
        self.augment = None if off else Augment(config.ada, spec.height, spec.channels)

    def augmentation(self, randomness: Randomness) -> Drawn:
        """Of a batch, with the p of now."""
        assert self.augment is not None
        return self.augment.draw(randomness, self.ada.p)

    @torch.no_grad()
    def observe(self, stats: Mapping[str, Tensor], images: int) -> None:
        """Stats that the step did not produce move nothing."""
        self.losses.observe(stats)
        if "path_length" in stats:
            pull(self.path_length_mean, stats["path_length"], self.config.path_length_decay)
        if "signs/real" in stats and self.config.ada.mode == "adaptive":
            self.ada.observe(stats["signs/real"], images)


def pull(mean: Tensor, value: Tensor, weight: float) -> None:
    """Moves a running mean towards `value` by `weight`, in place; not at all unless all of it is finite."""
    moved = mean.lerp(value.to(mean.dtype), weight)
    mean.copy_(torch.where(torch.isfinite(value).all(), moved, mean))
