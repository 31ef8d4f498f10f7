"""`hrgan encode`: a data set's images as latents, beside them."""

from __future__ import annotations

from launch.options.declared import takes_options
from launch.options.encode import EncodeOptions
from pipeline.words import LOADING_SECONDS, patiently


@takes_options
def encode(options: EncodeOptions) -> int:
    """Make shards with the latents of an autoencoder.

    Each sample keeps its image, label and fields, and gets the means and standard deviations of its latents,
    from which families with family.codec.kind=kl train without encoding anything. Images are taken as they
    are: mirrored ones have other latents. The same command again continues after a stop. Any number of
    processes, on any machines that share OUT, make one data set together.

    \b
    Examples:
      hrgan encode shards latents --codec runs/autoencoder
      hrgan encode shards latents --codec imported/vae --scale codec --processes 8
      hrgan encode s3://bucket/shards latents --codec runs/autoencoder/snapshots/000025000000 --batch 64
    """
    with patiently("loading torch", seconds=LOADING_SECONDS):
        from launch.assembly import encoding

    return encoding.encode(options)
