"""GAN-INT-CLS (Reed et al. 2016a), which draws what a text says."""

from pipeline.models.textgan.family import TextGAN

__all__ = ["TextGAN"]
