"""Layers that several families share."""

from pipeline.models.layers.equalized import Conv2d, Linear
from pipeline.models.layers.modulated import ModulatedConv2d, ToImage

__all__ = ["Conv2d", "Linear", "ModulatedConv2d", "ToImage"]
