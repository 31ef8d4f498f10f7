"""R3GAN's augmentation: the operations of StyleGAN2, with a probability that the schedule sets."""

from __future__ import annotations

from itertools import groupby

import torch
from torch import Tensor, nn

from pipeline.config.families import AdaConfig, R3GANConfig
from pipeline.contracts import ImageSpec, Randomness, Scalar
from pipeline.models.augment import Augment, Chain

ORDER = ("blit", "geometry", "color", "filter", "noise", "cutout")


class ScheduledAugment(nn.Module):
    """Applies the kinds of augmentation that the config names, in the paper's order; holds constants only.

    Colour operations have the probability `augment_color` * p. on: whether anything may be augmented in the
    whole run.
    """

    def __init__(self, config: R3GANConfig, spec: ImageSpec) -> None:
        super().__init__()
        kinds = [kind for kind in ORDER if kind in config.augment_kinds]
        self.on = bool(kinds) and (config.augment_p > 0 or config.augment_p_end > 0)
        # Colour operations have a pipe of their own because their p is another.
        parts = [(color, tuple(names)) for color, names in groupby(kinds, lambda kind: kind == "color")]
        self.factors = [config.augment_color if color else 1.0 for color, _ in parts]
        self.pipes = nn.ModuleList(
            Augment(AdaConfig(mode="fixed", kinds=names), (spec.height, spec.width), spec.channels)
            for _, names in (parts if self.on else ())
        )

    def draw(self, randomness: Randomness, p: Scalar) -> Chain:
        """Draws the augmentation of a batch. p: the probability of each operation, in [0, 1]."""
        if not isinstance(p, Tensor):
            p = torch.full((), p, dtype=torch.float64)
        parts = []
        for pipe, factor in zip(self.pipes, self.factors, strict=True):
            assert isinstance(pipe, Augment)
            parts.append(pipe.draw(randomness, (p * factor).float()))
        return Chain(tuple(parts))
