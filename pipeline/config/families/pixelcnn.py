"""The schema of PixelCNN, the Row LSTM and PixelCNN++."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.families.shared import Optimisation, Positive, Whole
from pipeline.config.units import Count


class PixelCNNConfig(Optimisation):
    """Models that tell each number of an image from those before it, and so give images an exact likelihood:
    PixelCNN and the Row LSTM (van den Oord et al. 2016), and PixelCNN++ (Salimans et al. 2017).

    There is no discriminator. If the data have classes, every layer has a bias for each.
    """

    name: Literal["pixelcnn"] = "pixelcnn"

    network: Literal["shifted", "masked", "row_lstm"] = "shifted"
    """shifted: PixelCNN++, two streams of shifted convolutions at several scales, which tell a mixture of
    logistic distributions. masked: PixelCNN, residual blocks of masked convolutions, which tell the
    probability of each of 256 values. row_lstm: the same with layers whose states go from row to row."""
    channels: Whole = 160
    """Features of each stream; with network=masked or row_lstm, half of those between layers (the paper's
    h)."""
    blocks: Whole = 5
    """With network=shifted: gated blocks of each scale on the way down; there are as many on the way back,
    and one more but at the lowest. Otherwise: residual blocks, or layers of the LSTM."""
    scales: Annotated[int, Field(gt=0, le=6)] = 3
    """With network=shifted: resolutions, each half of the one before."""
    mixtures: Whole = 10
    """With network=shifted: logistic distributions in the mixture."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """With network=shifted: probability with which training removes a feature within a block. 0: never."""
    head_channels: Whole = 1024
    """With network=masked or row_lstm: features between the two last layers."""

    generator_rate: Positive = 0.001
    """Adam's learning rate."""
    rate_decay: Annotated[float, Field(gt=0, le=1)] = 0.999995
    """What each step multiplies the learning rate by."""
    adam_beta1: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """Adam's first decay."""
    adam_beta2: Annotated[float, Field(ge=0, lt=1)] = 0.9995
    """Adam's second decay."""
    ema_half_life_images: Count = 177_000
    """Half-life of the averaged network, in images: a decay of 0.9995 with each step of 128."""
