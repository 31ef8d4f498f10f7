"""Where labels enter networks that know them by number."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.contracts import Verdict

WIDEST = 512
"""Most units of the layer that joins features and a label's embedding."""


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Class numbers [N] as rows of float32, [N, classes]; a number that is no class's is a row of zeros."""
    # torch's own looks at the numbers first, for which the host would wait.
    return (labels[:, None] == torch.arange(classes, device=labels.device)).float()


class LabelledLatent(nn.Module):
    """z [N, z_dim], with the label's embedding behind it if there are classes (Mirza and Osindero 2014)."""

    def __init__(self, z_dim: int, classes: int, label_dim: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(classes, label_dim) if classes else None
        self.outputs = z_dim + (label_dim if classes else 0)

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        return z if self.embed is None else torch.cat([z, self.embed(labels)], dim=1)


class VerdictHead(nn.Module):
    """Features [N, F] and labels [N] to a verdict.

    conditioning: embedding (the label's embedding joins the features, and a hidden layer judges whether they
    agree: Mirza and Osindero 2014, figure 1), projection (the product with it is added: Miyato and Koyama
    2018, eq. 3), or classifier (class logits beside the logit: Odena et al. 2017). Without classes it is a
    linear layer.
    """

    def __init__(
        self,
        features: int,
        classes: int,
        label_dim: int,
        conditioning: Literal["projection", "embedding", "classifier"],
    ) -> None:
        super().__init__()
        kind = conditioning if classes else None
        self.joined = nn.Embedding(classes, label_dim) if kind == "embedding" else None
        self.projected = nn.Embedding(classes, features) if kind == "projection" else None
        self.classify = nn.Linear(features, classes) if kind == "classifier" else None
        # A linear layer alone would add the label's score to the image's, whether they agree or not.
        hidden = min(features, WIDEST)
        self.agree = nn.Linear(features + label_dim, hidden) if kind == "embedding" else None
        self.out = nn.Linear(features if self.agree is None else hidden, 1)

    def forward(self, x: Tensor, labels: Tensor | None) -> Verdict:
        if self.joined is not None and self.agree is not None:
            x = F.leaky_relu(self.agree(torch.cat([x, self.joined(labels)], dim=1)), 0.2)
        logits = self.out(x).squeeze(1)
        if self.projected is not None:
            logits = logits + (x * self.projected(labels)).sum(dim=1)
        return Verdict(logits, None if self.classify is None else self.classify(x))
