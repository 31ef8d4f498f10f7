"""What every network that translates says of the inputs that it takes."""

from __future__ import annotations

from torch import nn


class TranslatingGenerator(nn.Module):
    """Makes images [N, C', H * scale, W * scale] of inputs [N, C, H, W] and noise. divisor, least, only,
    reach, margin: see `contracts.Translation`."""

    divisor: int = 1
    least: int = 1
    only: int | None = None
    reach: int | None = None
    margin: int = 0

    def noise_shapes(self, height: int, width: int) -> list[tuple[int, int, int]]:
        """Returns the shapes of the uniform numbers in [0, 1) that it takes for an input of this size."""
        return []
