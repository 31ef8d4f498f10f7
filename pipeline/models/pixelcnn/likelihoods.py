"""Distributions over the 256 values of a pixel's colours: what networks tell, how likely images are, draws.

Values are k / 127.5 - 1 for k from 0 to 255; images are taken to have the nearest of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

VALUES = 256
_HALF = 1 / 255
"""Half of the distance between two values."""
_LEAST_SCALE = -7.0  # of the logarithm of a logistic's scale
_TINY = 1e-5
"""The probability of a value below which it is taken from the density."""


class Likelihood(Protocol):
    """colours: of a pixel. parameters: how many numbers the network tells of it. draws: how many uniform
    numbers its draw takes. steps: how many times the network is asked until all its colours are drawn."""

    @property
    def colours(self) -> int: ...

    @property
    def parameters(self) -> int: ...

    @property
    def draws(self) -> int: ...

    @property
    def steps(self) -> int: ...

    def log_prob(self, told: Tensor, images: Tensor) -> Tensor:
        """Returns the log-probability of each image in nats, [N], under the parameters that the network tells
        of it, [N, parameters, H, W]."""
        ...

    def draw(self, told: Tensor, pixel: Tensor, uniform: Tensor, step: int) -> Tensor:
        """Returns the pixels [N, C] with the colours of this step drawn.

        told: the network's parameters [N, parameters]. pixel: the colours so far. uniform: numbers in [0, 1),
        [N, draws], of which each draw uses its own.
        """
        ...


class Softmax:
    """256 probabilities for each colour, which may depend on the colours before it (van den Oord et al.
    2016a, section 3.3)."""

    def __init__(self, colours: int) -> None:
        self.colours = self.draws = self.steps = colours
        self.parameters = VALUES * colours

    def log_prob(self, told: Tensor, images: Tensor) -> Tensor:
        logits = _split(told, self.colours, VALUES).transpose(1, 2)
        return -F.cross_entropy(logits, numbers_of(images), reduction="none").flatten(1).sum(dim=1)

    def draw(self, told: Tensor, pixel: Tensor, uniform: Tensor, step: int) -> Tensor:
        logits = _split(told, self.colours, VALUES)[:, step]
        number = chosen(logits, uniform[:, step])
        return torch.cat([pixel[:, :step], value_of(number)[:, None], pixel[:, step + 1 :]], dim=1)


class Logistics:
    """A mixture of logistic distributions, each integrated over the interval of a value, the outermost of
    which are open (Salimans et al. 2017, eq. 2 and 3).

    Each component's mean of a colour is linear in the pixel's earlier colours. The parameters are, for each
    component in turn: logits, means of every colour, logarithms of scales, coefficients of (second, first),
    (third, first), (third, second) colour before a hyperbolic tangent.
    """

    steps = 1

    def __init__(self, colours: int, components: int) -> None:
        self.colours, self.components = colours, components
        self.pairs = colours * (colours - 1) // 2
        self.parameters = components * (1 + 2 * colours + self.pairs)
        self.draws = 1 + colours

    def log_prob(self, told: Tensor, images: Tensor) -> Tensor:
        x = value_of(numbers_of(images))[:, None]
        logits, means, scales, coefficients = self._split(told)
        colours = list(x.unbind(dim=2))
        means = torch.stack(
            [self._mean(colour, means, coefficients, colours) for colour in range(self.colours)], dim=2
        )
        each = log_cell(x, means, scales).sum(dim=2)
        return torch.logsumexp(logits.log_softmax(dim=1) + each, dim=1).flatten(1).sum(dim=1)

    def draw(self, told: Tensor, pixel: Tensor, uniform: Tensor, step: int) -> Tensor:
        logits, *rest = self._split(told)
        component = chosen(logits, uniform[:, 0])
        each = torch.arange(len(told), device=told.device)
        means, scales, coefficients = (part[each, component][:, None] for part in rest)
        colours: list[Tensor] = []
        for colour in range(self.colours):
            mean = self._mean(colour, means, coefficients, colours)
            noise = torch.logit(uniform[:, 1 + colour, None])
            colours.append(value_of(numbers_of(mean + scales[:, :, colour].exp() * noise)))
        return torch.cat(colours, dim=1)

    def _split(self, told: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Returns logits [N, K, ...], then means and logarithms of scales, both [N, K, C, ...], and
        coefficients [N, K, pairs, ...]."""
        sizes = [1, self.colours, self.colours, self.pairs]
        parts = torch.split(told, [self.components * size for size in sizes], dim=1)
        logits, means, scales, coefficients = (
            _split(part, size, self.components).transpose(1, 2)
            for part, size in zip(parts, sizes, strict=True)
        )
        return logits[:, :, 0], means, scales.clamp(min=_LEAST_SCALE), torch.tanh(coefficients)

    def _mean(self, colour: int, means: Tensor, coefficients: Tensor, colours: Sequence[Tensor]) -> Tensor:
        """Returns the components' means [N, K, ...] of a colour, given those before it, each [N, 1, ...]."""
        mean, first = means[:, :, colour], colour * (colour - 1) // 2
        for earlier in range(colour):
            mean = mean + coefficients[:, :, first + earlier] * colours[earlier]
        return mean


def _split(x: Tensor, first: int, second: int) -> Tensor:
    """Returns [N, first * second, ...] as [N, first, second, ...]."""
    return x.reshape(len(x), first, second, *x.shape[2:])


def log_cell(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Returns the log-probability that logistic distributions give the intervals of the values x.

    Where it is tiny, it is the density in the middle times the width, as in the public code of Salimans et
    al. 2017, so that gradients stay finite.
    """
    centred, inverse = x - mean, (-log_scale).exp()
    upper, lower, middle = (inverse * (centred + shift) for shift in (_HALF, -_HALF, 0.0))
    inside = torch.sigmoid(upper) - torch.sigmoid(lower)
    dense = middle - log_scale - 2 * F.softplus(middle) + math.log(2 * _HALF)
    # The floor is never a result; it keeps the gradient of what is not taken finite.
    log_inside = torch.where(inside > _TINY, inside.clamp(min=_TINY / 2).log(), dense)
    return torch.where(
        x < -1 + _HALF,
        -F.softplus(-upper),
        torch.where(x > 1 - _HALF, -F.softplus(lower), log_inside),
    )


def numbers_of(images: Tensor) -> Tensor:
    """Returns the number, from 0 to 255, of the value that is nearest to each of `images`; int64."""
    return ((images + 1) * ((VALUES - 1) / 2)).round().clamp(0, VALUES - 1).long()


def value_of(numbers: Tensor) -> Tensor:
    """Returns the values in [-1, 1] of numbers from 0 to 255, as `images.pictures.from_uint8` does."""
    return numbers.float() / ((VALUES - 1) / 2) - 1


def chosen(logits: Tensor, uniform: Tensor) -> Tensor:
    """Returns which of K outcomes uniform numbers [N] mean under logits [N, K], int64 [N]."""
    below = logits.double().softmax(dim=1).cumsum(dim=1)
    return (below <= uniform[:, None]).sum(dim=1).clamp(max=logits.shape[1] - 1)
