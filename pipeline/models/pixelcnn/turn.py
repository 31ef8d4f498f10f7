"""The objective of a model of likelihoods."""

from __future__ import annotations

import math
from typing import Protocol

from torch import Tensor

from pipeline.contracts import Batch, Game, Terms


class Rated(Game, Protocol):
    """A game that tells how likely images are."""

    def log_prob(self, reals: Batch) -> Tensor:
        """Returns the log-probability of each real, in nats, [N]."""
        ...


def likelihood_turn(game: Rated, reals: Batch) -> Terms:
    """Returns the negative log-likelihood of each real in bits per dimension: nats / (numbers of an image *
    ln 2) (van den Oord et al. 2016a, section 5.1)."""
    bits = game.log_prob(reals) / (-math.log(2) * reals.images[0].numel())
    return Terms(bits, {"loss/bits_per_dim": bits.detach().mean()})
