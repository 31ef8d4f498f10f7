"""ProGAN (Karras et al. 2018), which grows progressively."""

from pipeline.models.progan.family import ProGAN

__all__ = ["ProGAN"]
