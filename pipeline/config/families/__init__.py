"""One schema a family, told apart by `family.name`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.config.families.autoencoder import AutoencoderConfig
from pipeline.config.families.baselines import DCGANConfig, MLPConfig
from pipeline.config.families.biggan import BigGANConfig
from pipeline.config.families.gat import GATConfig
from pipeline.config.families.progan import ProGANConfig
from pipeline.config.families.r3gan import R3GANConfig
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

FamilyConfig = Annotated[
    StyleGAN2Config
    | StyleGAN3Config
    | BigGANConfig
    | ProGANConfig
    | R3GANConfig
    | GATConfig
    | DCGANConfig
    | MLPConfig
    | AutoencoderConfig,
    Field(discriminator="name"),
]
"""The union of all families."""

__all__ = [
    "AdaConfig",
    "Adaptive",
    "ApaConfig",
    "AutoencoderConfig",
    "BigGANConfig",
    "Caution",
    "CodecConfig",
    "Coded",
    "Conditioning",
    "DCGANConfig",
    "DiffusionConfig",
    "FamilyConfig",
    "FewImages",
    "GATConfig",
    "Loss",
    "MLPConfig",
    "Objectives",
    "Optimisation",
    "ProGANConfig",
    "R3GANConfig",
    "Strict",
    "StyleGAN2Config",
    "StyleGAN3Config",
]
