"""ProGAN (Karras et al. 2018): progressive growing."""

from pipeline.models.progan.family import ProGAN

__all__ = ["ProGAN"]
