"""StyleGAN2 (Karras et al. 2020a) with adaptive augmentation (Karras et al. 2020b)."""

from pipeline.models.stylegan2.family import StyleGAN2
from pipeline.models.stylegan2.shape import Shape, shape_of

__all__ = ["Shape", "StyleGAN2", "shape_of"]
