"""The radiance field: density and colour at a point, as seen from a direction, for two codes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.config.families import GRAFConfig
from pipeline.models.layers import Recomputable

_JOINS = 5
"""The layer whose activations the input joins."""


def encoded(x: Tensor, octaves: int) -> Tensor:
    """Returns x [..., D], followed by sin(2^k x) and cos(2^k x) for each octave k, [..., D * (2 octaves + 1)]
    (Mildenhall et al. 2020, eq. 4, without the factor pi, as in the code of Schwarz et al. 2020)."""
    scales = 2.0 ** torch.arange(octaves, device=x.device)
    angles = x[..., None, :] * scales[:, None]
    waves = torch.stack([angles.sin(), angles.cos()], dim=-2)
    return torch.cat([x, waves.flatten(-3)], dim=-1)


class RadianceField(Recomputable):
    """The network of Mildenhall et al. 2020, appendix A, with a code beside each of its two inputs (Schwarz
    et al. 2020, section 3.2.1): layers that see a point and the shape code give the density there; one more,
    which also sees the direction and the appearance code, the colour.

    channels: of colours. shape, appearance: the sizes of the codes, label included.
    """

    def __init__(self, config: GRAFConfig, channels: int, shape: int, appearance: int) -> None:
        super().__init__()
        self.octaves = config.position_frequencies, config.direction_frequencies
        width, places, views = config.field_width, *(3 * (2 * count + 1) for count in self.octaves)
        inputs = [places + shape, *[width] * (config.field_layers - 1)]
        self.joins = _JOINS if config.field_layers > _JOINS else None
        if self.joins is not None:
            inputs[self.joins] += places + shape
        self.layers = nn.ModuleList(nn.Linear(size, width) for size in inputs)
        self.density = nn.Linear(width, 1)
        self.feature = nn.Linear(width, width)
        self.view = nn.Linear(width + views + appearance, width // 2)
        self.colour = nn.Linear(width // 2, channels)

    def compute(
        self, points: Tensor, directions: Tensor, shape: Tensor, appearance: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Returns densities [N, R, S] before their ReLU and colours [N, R, S, C] in (0, 1).

        points: [N, R, S, 3]. directions: [N, R, 3], of length 1. shape, appearance: [N, dim].
        """
        places, views = encoded(points, self.octaves[0]), encoded(directions, self.octaves[1])
        x = _linear(self.layers[0], (places, _to_all(shape)))
        for number, layer in enumerate(self.layers[1:], start=1):
            x = torch.relu(x)
            x = _linear(layer, (places, _to_all(shape), x) if number == self.joins else (x,))
        x = torch.relu(x)
        inputs = (self.feature(x), views[:, :, None], _to_all(appearance))
        return self.density(x).squeeze(3), torch.sigmoid(self.colour(torch.relu(_linear(self.view, inputs))))


def _to_all(code: Tensor) -> Tensor:
    return code[:, None, None]


def _linear(layer: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    """Returns the linear layer of the inputs [..., dim] side by side, which may have dimensions of size 1
    where others have more: what is the same for many points is multiplied once."""
    assert isinstance(layer, nn.Linear)
    weights = torch.split(layer.weight, [x.shape[-1] for x in inputs], dim=1)
    y = F.linear(inputs[0], weights[0], layer.bias)
    for x, weight in zip(inputs[1:], weights[1:], strict=True):
        y = y + F.linear(x, weight)
    return y
