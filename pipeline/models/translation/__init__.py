"""Images from images: pix2pix and pix2pixHD, CycleGAN, super-resolution, inpainting."""

from pipeline.models.translation.cyclegan import CycleGAN
from pipeline.models.translation.inpainting import Inpainting
from pipeline.models.translation.pix2pix import Pix2Pix
from pipeline.models.translation.superres import SuperResolution

__all__ = ["CycleGAN", "Inpainting", "Pix2Pix", "SuperResolution"]
