"""Adversarial losses: what each network minimises, as a function of the discriminator's logits.

Each loss is two functions of the logits r of reals and f of fakes. They work logit by logit, on [N] or, for a
head with L logits per image, [N, L], and return the same shape. A loss that compares reals with fakes
compares the logits at the same place. Where a paper speaks of probabilities, D = sigmoid(logit).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Adversarial:
    """The losses discriminator(r, f) and generator(r, f), each minimised by its network.

    pairs: whether the generator's loss compares fakes with reals; otherwise it ignores `r`.
    """

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]
    pairs: bool = False


def _cross_entropy(r: Tensor, f: Tensor) -> Tensor:
    """-log D(x) - log(1 - D(G(z))) (Goodfellow et al. 2014, eq. 1)."""
    # Softplus, because the logarithm of a rounded probability is infinite from a logit of about 17 on.
    return F.softplus(-r) + F.softplus(f)


ADVERSARIAL: Mapping[str, Adversarial] = {
    # log(1 - D(G(z))) (Goodfellow et al. 2014, eq. 1)
    "minimax": Adversarial(_cross_entropy, lambda r, f: -F.softplus(f)),
    # -log D(G(z)) (Goodfellow et al. 2014, section 3)
    "non_saturating": Adversarial(_cross_entropy, lambda r, f: F.softplus(-f)),
    # (D(x) - b)^2 / 2 + (D(G(z)) - a)^2 / 2 and (D(G(z)) - c)^2 / 2 with a, b, c = 0, 1, 1
    # (Mao et al. 2017, eq. 9)
    "least_squares": Adversarial(
        lambda r, f: ((r - 1).square() + f.square()) / 2, lambda r, f: (f - 1).square() / 2
    ),
    # f(G(z)) - f(x) (Arjovsky et al. 2017, eq. 3 and algorithm 1)
    "wasserstein": Adversarial(lambda r, f: f - r, lambda r, f: -f),
    # max(0, 1 - D(x)) + max(0, 1 + D(G(z))) (Lim and Ye 2017, eq. 16; Miyato et al. 2018, eq. 16 and 17)
    "hinge": Adversarial(lambda r, f: F.relu(1 - r) + F.relu(1 + f), lambda r, f: -f),
    # -log sigmoid(D(x) - D(G(z))) and its mirror image (Jolicoeur-Martineau 2019, section 4.1;
    # Huang et al. 2024, eq. 2)
    "relativistic": Adversarial(lambda r, f: F.softplus(f - r), lambda r, f: F.softplus(r - f), pairs=True),
}
