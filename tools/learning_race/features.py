"""Features for distances where no published weights are at hand: pixels, and a network that learnt nothing.

Distances of random features order what differs much, as blurred, collapsed and good samples do; they compare
with nothing that is published.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.randomness import seeded

_SIDE = 8
_WIDTHS = (16, 32, 64)
_SIDES = (32, 16, 8)
RANDOM, PIXELS = "random", "pixels"
FACTORIES = {RANDOM: f"{__name__}:random_network", PIXELS: f"{__name__}:small_pixels"}
"""What `hrgan evaluate --extractor` takes, by the name in figures."""


class Features:
    """Implements `pipeline.evaluation.features.extractor.Extractor`. function: RGB in [-1, 1] [N, 3, H, W] to
    [N, size]."""

    has_logits = False

    def __init__(
        self, name: str, function: Callable[[Tensor], Tensor], size: int, digest: str, device: torch.device
    ) -> None:
        self.name, self.size, self.digest = name, size, digest
        self.resize = "area"
        self._function, self._device = function, device

    @torch.no_grad()
    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """uint8 RGB [N, 3, H, W] -> features [N, size], None."""
        shown = images.to(self._device).float() / 127.5 - 1
        return self._function(shown).float().cpu(), None


def small_pixels(device: torch.device) -> Features:
    """The image itself at 8x8 pixels: 192 numbers."""

    def shrink(images: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(images, _SIDE).flatten(1)

    return Features(PIXELS, shrink, 3 * _SIDE**2, hashlib.sha256(b"8x8").hexdigest(), device)


def random_network(device: torch.device) -> Features:
    """Mean and deviation over the image of every channel of three random convolutions (He et al. 2015), each
    on the image averaged to 32, 16 and 8 pixels and on what came before: 224 numbers. The weights follow from
    a fixed seed."""
    network = _Random().to(device)
    weights = b"".join(weight.cpu().numpy().tobytes() for weight in network.state_dict().values())
    return Features(RANDOM, network, 2 * sum(_WIDTHS), hashlib.sha256(weights).hexdigest(), device)


class _Random(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        generator, before = seeded(0), 0
        self.layers = nn.ParameterList()
        for width in _WIDTHS:
            fan_in = 9 * (3 + before)
            weight = torch.randn(width, 3 + before, 3, 3, generator=generator) * (2 / fan_in) ** 0.5
            self.layers.append(nn.Parameter(weight, requires_grad=False))
            before = width

    def forward(self, images: Tensor) -> Tensor:
        seen: list[Tensor] = []
        before = None
        for weight, side in zip(self.layers, _SIDES, strict=True):
            x = F.adaptive_avg_pool2d(images, side)
            if before is not None:
                x = torch.cat([x, F.adaptive_avg_pool2d(before, side)], dim=1)
            before = F.relu(F.conv2d(x, weight, padding=1))
            seen += [before.mean(dim=(2, 3)), before.std(dim=(2, 3))]
        return torch.cat(seen, dim=1)
