"""StyleGAN3 (Karras et al. 2021)."""

from pipeline.models.stylegan3.family import StyleGAN3

__all__ = ["StyleGAN3"]
