"""StyleGAN2 (Karras et al. 2020a) with adaptive augmentation (Karras et al. 2020b)."""

from pipeline.models.stylegan2.family import StyleGAN2

__all__ = ["StyleGAN2"]
