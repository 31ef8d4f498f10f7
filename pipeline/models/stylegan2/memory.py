"""What StyleGAN2 remembers across steps beyond weights, as buffers: the path-length mean and ADA's state."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pipeline.config.families import AdaConfig, StyleGAN2Config


class AdaController(nn.Module):
    """Moves p so that the mean sign of D(real) stays at the target (Karras et al. 2020b, section 3.1).

    Every `every` steps p goes up or down by (images since the last move) / adjust_images, within [0, 1].
    All on the device; equal on all ranks because the stats are.
    """

    p: Tensor
    sign_sum: Tensor
    images: Tensor
    steps: Tensor

    def __init__(self, config: AdaConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("p", torch.tensor(config.p if config.mode != "off" else 0.0))
        self.register_buffer("sign_sum", torch.tensor(0.0))
        self.register_buffer("images", torch.tensor(0.0))
        self.register_buffer("steps", torch.tensor(0, dtype=torch.int64))

    @torch.no_grad()
    def observe(self, sign: Tensor, images: int) -> None:
        """sign: 0-d, the step's mean sign over all ranks."""
        # A step whose logits are not finite says nothing about overfitting.
        self.sign_sum += torch.nan_to_num(sign) * images
        self.images += images
        self.steps += 1
        due = self.steps % self.config.every == 0
        direction = torch.sign(self.sign_sum / self.images - self.config.target)
        moved = (self.p + direction * self.images / self.config.adjust_images).clamp(0, 1)
        self.p.copy_(torch.where(due, moved, self.p))
        self.sign_sum.mul_(~due)
        self.images.mul_(~due)


class Memory(nn.Module):
    """path_length_mean: 0-d, the running mean of path lengths. ada: the controller of p."""

    path_length_mean: Tensor

    def __init__(self, config: StyleGAN2Config) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("path_length_mean", torch.tensor(0.0))
        self.ada = AdaController(config.ada)

    @torch.no_grad()
    def observe(self, stats: Mapping[str, Tensor], images: int) -> None:
        """Stats that the step did not produce move nothing."""
        if "path_length" in stats:
            self.path_length_mean.lerp_(stats["path_length"], self.config.path_length_decay)
        if "signs/real" in stats and self.config.ada.mode == "adaptive":
            self.ada.observe(stats["signs/real"], images)
