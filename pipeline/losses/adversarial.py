"""Adversarial losses: what each network wants of the discriminator's logits.

Each is two functions of logits r of reals and f of fakes, logit by logit: of [N] or, where a head has L of
them an image, of [N, L], to the same shape. A loss that compares a real with a fake compares logits of the
same place. D = sigmoid(logit) where a paper speaks of probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Adversarial:
    """discriminator(r, f) and generator(r, f), each to be minimised by its network.

    pairs: the generator's loss compares with reals; without, its `r` is not looked at.
    """

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]
    pairs: bool = False


def _cross_entropy(r: Tensor, f: Tensor) -> Tensor:
    """-log D(x) - log(1 - D(G(z))) (Goodfellow et al. 2014, eq. 1)."""
    # As softplus: the logarithm of a rounded probability is infinite from a logit of about 17 on.
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
