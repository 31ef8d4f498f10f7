"""BigGAN and BigGAN-deep (Brock et al. 2019)."""

from pipeline.models.biggan.family import BigGAN

__all__ = ["BigGAN"]
