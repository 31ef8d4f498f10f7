"""A probability that follows the discriminator's confidence: the strength of what hides images from it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipeline.config.families import Adaptive


class Controller(nn.Module):
    """Adjusts p so that the mean sign of D(real) stays at the target (Karras et al. 2020b, section 3.1), or
    leaves it as it is if it is fixed.

    Every `every` steps, p is increased or decreased by (images since the last change) / adjust_images, within
    [0, 1]. sign_sum, images, steps: totals since the start of the interval, without steps that were not
    finite. All buffers are on the device, and equal on all ranks because the stats are.
    """

    p: Tensor
    sign_sum: Tensor
    images: Tensor
    steps: Tensor

    def __init__(self, config: Adaptive) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("p", torch.tensor(config.p if config.mode != "off" else 0.0))
        self.register_buffer("sign_sum", torch.tensor(0.0))
        self.register_buffer("images", torch.tensor(0.0))
        self.register_buffer("steps", torch.tensor(0, dtype=torch.int64))

    @torch.no_grad()
    def observe(self, sign: Tensor, images: int) -> None:
        """Takes in one step. sign: its mean sign over all ranks, 0-d. images: its number of images."""
        if self.config.mode != "adaptive":
            return
        finite = torch.isfinite(sign)
        self.sign_sum += torch.where(finite, sign * images, 0.0)
        self.images += finite * images
        self.steps += finite
        due = self.steps == self.config.every
        # This is 0 / 0 before the first finite step, but then no change is due and the value is not used.
        direction = torch.sign(self.sign_sum / self.images - self.config.target)  # r_t of eq. 1
        moved = (self.p + direction * self.images / self.config.adjust_images).clamp(0, 1)
        self.p.copy_(torch.where(due, moved, self.p))
        # Not an `if`, because only the device knows whether a change is due.
        for count in (self.sign_sum, self.images, self.steps):
            count.mul_(~due)
