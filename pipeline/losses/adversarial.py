"""Adversarial losses: what each network wants of the discriminator's logits."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.contracts import Batch, Fakes, Game, Terms


def generator_logistic(game: Game, reals: Batch) -> Terms:
    """The non-saturating logistic loss -log D(G(z)), [N] (Goodfellow et al. 2014, section 3)."""
    fakes = game.generate(len(reals))
    logits = game.judge(fakes.images, fakes.labels)
    loss = F.softplus(-logits)  # -log sigmoid(logits)
    return Terms(loss, {"loss/generator": loss.detach().mean()})


def discriminator_logistic(game: Game, reals: Batch, fakes: Fakes | None = None) -> Terms:
    """-log D(x) - log(1 - D(G(z))), [N] (Goodfellow et al. 2014, eq. 1), and the logits' means and signs.

    fakes: already generated ones, one a real; None generates them. The generator gets no gradient.
    """
    fakes = generate_detached(game, len(reals)) if fakes is None else fakes
    fake = game.judge(fakes.images.detach(), fakes.labels)
    real = game.judge(reals.images, reals.labels)
    loss = F.softplus(fake) + F.softplus(-real)
    return Terms(loss, {"loss/discriminator": loss.detach().mean(), **logit_stats(real, fake)})


def generate_detached(game: Game, count: int) -> Fakes:
    """Fakes without a graph, for the discriminator's turn."""
    with torch.no_grad():
        return game.generate(count)


def logit_stats(real: Tensor, fake: Tensor) -> dict[str, Tensor]:
    """Batch means for the log and for adaptive augmentation (`signs/real`: Karras et al. 2020b, eq. 1)."""
    real, fake = real.detach(), fake.detach()
    return {
        "logits/real": real.mean(),
        "logits/fake": fake.mean(),
        "signs/real": real.sign().mean(),
    }
