"""GRAF (Schwarz et al. 2020): generative radiance fields, trained by patches of images from unknown poses."""

from pipeline.models.graf.family import GRAF

__all__ = ["GRAF"]
