"""One schema a family, told apart by `family.name`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.config.families.autoencoder import AutoencoderConfig
from pipeline.config.families.baselines import DCGANConfig, MLPConfig
from pipeline.config.families.began import BEGANConfig
from pipeline.config.families.biggan import BigGANConfig
from pipeline.config.families.dann import DANNConfig
from pipeline.config.families.gat import GATConfig
from pipeline.config.families.graf import GRAFConfig
from pipeline.config.families.pixelcnn import PixelCNNConfig
from pipeline.config.families.progan import ProGANConfig
from pipeline.config.families.r3gan import R3GANConfig
from pipeline.config.families.sg2im import SG2ImConfig
from pipeline.config.families.shared import (
    AdaConfig,
    Adaptive,
    ApaConfig,
    Caution,
    CodecConfig,
    Coded,
    Conditioning,
    DiffusionConfig,
    FewImages,
    Loss,
    Objectives,
    Optimisation,
    Strict,
)
from pipeline.config.families.stylegan2 import StyleGAN2Config
from pipeline.config.families.stylegan3 import StyleGAN3Config
from pipeline.config.families.textgan import TextGANConfig
from pipeline.config.families.translation import (
    CycleGANConfig,
    Decaying,
    InpaintingConfig,
    Pix2PixConfig,
    SuperResolutionConfig,
    Translating,
)

FamilyConfig = Annotated[
    StyleGAN2Config
    | StyleGAN3Config
    | BigGANConfig
    | ProGANConfig
    | R3GANConfig
    | GATConfig
    | GRAFConfig
    | DCGANConfig
    | MLPConfig
    | TextGANConfig
    | BEGANConfig
    | SG2ImConfig
    | AutoencoderConfig
    | Pix2PixConfig
    | CycleGANConfig
    | SuperResolutionConfig
    | InpaintingConfig
    | PixelCNNConfig
    | DANNConfig,
    Field(discriminator="name"),
]
"""The union of all families."""

__all__ = [
    "AdaConfig",
    "Adaptive",
    "ApaConfig",
    "AutoencoderConfig",
    "BEGANConfig",
    "BigGANConfig",
    "Caution",
    "CodecConfig",
    "Coded",
    "Conditioning",
    "CycleGANConfig",
    "DANNConfig",
    "DCGANConfig",
    "Decaying",
    "DiffusionConfig",
    "FamilyConfig",
    "FewImages",
    "GATConfig",
    "GRAFConfig",
    "InpaintingConfig",
    "Loss",
    "MLPConfig",
    "Objectives",
    "Optimisation",
    "Pix2PixConfig",
    "PixelCNNConfig",
    "ProGANConfig",
    "R3GANConfig",
    "SG2ImConfig",
    "Strict",
    "StyleGAN2Config",
    "StyleGAN3Config",
    "SuperResolutionConfig",
    "TextGANConfig",
    "Translating",
]
