"""R3GAN's augmentation: StyleGAN2's operations with a probability that the schedule sets."""

from __future__ import annotations

from itertools import groupby

import torch
from torch import Tensor, nn

from pipeline.config.families import AdaConfig, R3GANConfig
from pipeline.contracts import ImageSpec, Randomness, Scalar
from pipeline.models.augment import Augment, Chain

ORDER = ("blit", "geometry", "color", "filter", "noise", "cutout")


class ScheduledAugment(nn.Module):
    """The config's kinds in the paper's order, colours with their share of p; holds constants only.

    on: whether anything may happen in the whole run.
    """

    def __init__(self, config: R3GANConfig, spec: ImageSpec) -> None:
        super().__init__()
        kinds = [kind for kind in ORDER if kind in config.augment_kinds]
        self.on = bool(kinds) and (config.augment_p > 0 or config.augment_p_end > 0)
        # Colours are a pipe of their own only for their own p.
        parts = [(color, tuple(names)) for color, names in groupby(kinds, lambda kind: kind == "color")]
        self.factors = [config.augment_color if color else 1.0 for color, _ in parts]
        self.pipes = nn.ModuleList(
            Augment(AdaConfig(mode="fixed", kinds=names), spec.height, spec.channels)
            for _, names in (parts if self.on else ())
        )

    def draw(self, randomness: Randomness, p: Scalar) -> Chain:
        """Of a batch. p: in [0, 1]."""
        if not isinstance(p, Tensor):
            p = torch.full((), p, dtype=torch.float64)
        parts = []
        for pipe, factor in zip(self.pipes, self.factors, strict=True):
            assert isinstance(pipe, Augment)
            parts.append(pipe.draw(randomness, (p * factor).float()))
        return Chain(tuple(parts))
