"""Differentiable augmentation of the images that the discriminator sees (Karras et al. 2020b, appendix B;
Zhao et al. 2020)."""

from pipeline.models.augment.controller import AdaController
from pipeline.models.augment.diffaugment import DiffAugment, Retouched
from pipeline.models.augment.pipe import Augment, Chain, Drawn

__all__ = ["AdaController", "Augment", "Chain", "DiffAugment", "Drawn", "Retouched"]
