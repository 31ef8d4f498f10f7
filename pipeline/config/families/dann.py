"""The schema of domain-adversarial features."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.families.shared import NonNegative, Optimisation, Positive, Whole
from pipeline.config.units import Count, PositiveCount


class DANNConfig(Optimisation):
    """DANN (Ganin et al. 2016): a classifier that learns from the labelled images of `data.path` and, by
    features that do not tell the two sets apart, is right about those of `data.second`, whose labels it never
    sees.

    There is one player, and no image is made. Images may have any size from 4 pixels.
    """

    name: Literal["dann"] = "dann"

    channels: tuple[Whole, Whole] = (32, 48)
    """Channels of the two convolutions (figure 4a)."""
    batch_norm_group: Count = 0
    """Images whose batch statistics are taken together after each convolution, in either set by itself; must
    divide the number of images that a process computes at once. 0: no normalisation, as published."""
    width: Whole = 100
    """Units of the hidden layers of both heads: two that tell classes, one that tells the sets apart."""
    adapt_weight: NonNegative = 1.0
    """What the factor lambda (eq. 14) is multiplied by, with which the features learn to confuse the sets. 0:
    they learn from the labelled set alone, although the statistics of `batch_norm_group` are of both."""
    adapt_images: PositiveCount = 1_000_000
    """Images of the first set over which p goes from 0 to 1, on which lambda and the learning rate depend: as
    a rule, the length of the run."""

    optimizer: Literal["sgd", "adam"] = "sgd"
    """sgd: gradient descent with momentum, as published. adam: Adam, with the same schedule; the
    features and the head of the sets play against each other, for which a small `adam_beta1` is usual."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """With optimizer=sgd: its momentum."""
    generator_rate: Positive = 0.01
    """Learning rate at the beginning; it falls as 1 / (1 + 10 p)^0.75 (section 5.2.2)."""
    ema_half_life_images: Count = 0
    """Half-life of the averaged network, in images; the paper keeps none."""
