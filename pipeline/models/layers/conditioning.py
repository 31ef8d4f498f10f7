"""Layers through which class numbers enter a network."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.contracts import Verdict

WIDEST = 512
"""The most units of the layer that combines features with the embedding of a label."""


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Returns class numbers [N] as one-hot rows [N, classes] float32; a number out of range gives zeros."""
    # torch's own function inspects the numbers, for which the host would have to wait.
    return (labels[:, None] == torch.arange(classes, device=labels.device)).float()


class LabelledLatent(nn.Module):
    """Appends the embedding of the label to z [N, z_dim], if there are classes (Mirza and Osindero 2014)."""

    def __init__(self, z_dim: int, classes: int, label_dim: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(classes, label_dim) if classes else None
        self.outputs = z_dim + (label_dim if classes else 0)

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        return z if self.embed is None else torch.cat([z, self.embed(labels)], dim=1)


class VerdictHead(nn.Module):
    """Judges features [N, F] and labels [N].

    conditioning: "embedding" concatenates features and the embedding of the label, and a hidden layer judges
    whether they agree (Mirza and Osindero 2014, figure 1). "projection" adds the inner product of the two to
    the logit (Miyato and Koyama 2018, eq. 3). "classifier" also returns class logits (Odena et al. 2017).
    Without classes the head is a linear layer.
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
        # A linear layer alone would add a score of the label to that of the image, whether they agree or not.
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
