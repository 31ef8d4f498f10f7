"""What the networks of this family have in common, and the likelihood of images under one."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from pipeline.models.pixelcnn.dropout import Dropout
from pipeline.models.pixelcnn.likelihoods import Likelihood
from pipeline.models.pixelcnn.rows import Rows


class PixelNetwork(Protocol):
    """Tells a distribution of each number of images from the numbers before it, row by row from the top, each
    row from the left, and within a pixel one colour after the other.

    classes: the number of classes, 0 if there are none. likelihood: what its numbers mean.
    """

    classes: int
    likelihood: Likelihood

    def __call__(
        self,
        images: Tensor,
        labels: Tensor | None,
        dropout: Dropout | None = None,
        rows: Rows | None = None,
        *,
        exact: bool = False,
    ) -> Tensor:
        """Returns the likelihood's parameters [N, P, H, W] for images [N, C, H, W] in [-1, 1].

        labels: class numbers [N]. rows: the memory of the rows above, for images that are shown row by row;
        None for whole ones.
        """
        ...

    def activations(self, height: int, width: int) -> int:
        """Returns how many numbers dropout may remove while the network sees one image."""
        ...


def log_prob(
    network: PixelNetwork, images: Tensor, labels: Tensor | None, dropout: Dropout | None = None
) -> Tensor:
    """Returns the log-probability of each image given its class, in nats, [N]."""
    labels = labels if network.classes else None
    return network.likelihood.log_prob(network(images, labels, dropout), images)
