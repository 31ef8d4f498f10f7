"""What reconstructions are worth: likelihoods of images, and the balance against an adversarial loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Likelihood = Callable[[Tensor, Tensor, Tensor], Tensor]
"""-log p(x | y) in nats, [N], of images x given reconstructions y, both [N, C, H, W], and the logarithm of
the width of the distribution, 0-d."""


def _numbers(images: Tensor) -> int:
    """Returns how many numbers an image consists of."""
    return images[0].numel()


def _laplace(x: Tensor, y: Tensor, log_scale: Tensor) -> Tensor:
    """|x - y| / b + log 2b, with log_scale = log b."""
    errors = (x - y).abs().flatten(1).sum(dim=1)
    return errors * (-log_scale).exp() + _numbers(x) * (log_scale + math.log(2))


def _gaussian(x: Tensor, y: Tensor, log_scale: Tensor) -> Tensor:
    """(x - y)^2 / 2 sigma^2 + log sigma + log(2 pi) / 2, with log_scale = log sigma."""
    errors = (x - y).square().flatten(1).sum(dim=1)
    return errors * (-2 * log_scale).exp() / 2 + _numbers(x) * (log_scale + math.log(2 * math.pi) / 2)


def _bernoulli(x: Tensor, y: Tensor, log_scale: Tensor) -> Tensor:
    """-log of the probability of pixels x, each -1 or 1, where (1 + y) / 2 is that of a 1."""
    return F.binary_cross_entropy((1 + y) / 2, (1 + x) / 2, reduction="none").flatten(1).sum(dim=1)


LIKELIHOODS: Mapping[str, Likelihood] = {
    # The L1 distance of Rombach et al. 2022, whose public code also divides by such a width, which stays 1.
    "laplace": _laplace,
    # Kingma and Welling 2014, appendix C.2, with one sigma for all numbers
    "gaussian": _gaussian,
    # Kingma and Welling 2014, appendix C.1
    "bernoulli": _bernoulli,
}


class Balance(nn.Module):
    """The weight d = |grad of the reconstruction's loss| / (|grad of the adversarial loss| + 1e-4), at most
    1e4, by which the adversarial loss pulls as hard at the decoder's last layer as the other one (Esser et
    al. 2021, eq. 7).

    d is that of the step before, and 0 until there is one: it is made of the gradients of a whole batch, and
    what a micro-batch computes are stats, of which `observe` gets the mean over all ranks.
    """

    weight: Tensor
    _FLOOR, _MOST = 1e-4, 1e4

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros([]))

    def measured(self, reconstruction: Tensor, adversarial: Tensor, layer: Tensor) -> dict[str, Tensor]:
        """Returns the stats that `observe` needs. reconstruction, adversarial: losses, [N]. layer: the weight
        with respect to which gradients are taken."""
        losses = {"reconstruction": reconstruction, "adversarial": adversarial}
        return {
            f"gradient/{name}": torch.autograd.grad(loss.mean(), layer, retain_graph=True)[0].flatten()
            for name, loss in losses.items()
        }

    @torch.no_grad()
    def observe(self, stats: Mapping[str, Tensor]) -> None:
        """Sets d from a step's stats, if they have it and it is finite."""
        if "gradient/adversarial" not in stats:
            return
        ours, theirs = (stats[f"gradient/{name}"].norm() for name in ("reconstruction", "adversarial"))
        now = (ours / (theirs + self._FLOOR)).clamp(max=self._MOST).to(self.weight.dtype)
        self.weight.copy_(torch.where(torch.isfinite(now), now, self.weight))
