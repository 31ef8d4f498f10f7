"""Differentiable augmentation of the images that the discriminator sees (Karras et al. 2020b, appendix B;
Zhao et al. 2020; Wang et al. 2022)."""

from pipeline.models.augment.controller import Controller
from pipeline.models.augment.diffaugment import DiffAugment, Retouched
from pipeline.models.augment.diffusion import Diffusion, Noised
from pipeline.models.augment.pipe import Augment, Chain, Drawn

__all__ = ["Augment", "Chain", "Controller", "DiffAugment", "Diffusion", "Drawn", "Noised", "Retouched"]
