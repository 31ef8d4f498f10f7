"""Builds a family from its config. A new family is one more entry here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from pipeline.config.families import FamilyConfig
from pipeline.contracts import Family, ImageSpec
from pipeline.errors import UserError
from pipeline.models.autoencoder.family import AutoencoderFamily
from pipeline.models.began import BEGAN
from pipeline.models.biggan import BigGAN
from pipeline.models.dann import DANN
from pipeline.models.dcgan import DCGAN
from pipeline.models.gat import GAT
from pipeline.models.graf import GRAF
from pipeline.models.mlp import MLP
from pipeline.models.pixelcnn import PixelCNNFamily
from pipeline.models.progan import ProGAN
from pipeline.models.r3gan import R3GAN
from pipeline.models.sg2im import SG2Im
from pipeline.models.stylegan2 import StyleGAN2
from pipeline.models.stylegan3 import StyleGAN3
from pipeline.models.textgan import TextGAN
from pipeline.models.translation import CycleGAN, Inpainting, Pix2Pix, SuperResolution

FAMILIES: dict[str, Callable[..., Family]] = {
    "stylegan2": StyleGAN2,
    "stylegan3": StyleGAN3,
    "biggan": BigGAN,
    "progan": ProGAN,
    "r3gan": R3GAN,
    "gat": GAT,
    "graf": GRAF,
    "dcgan": DCGAN,
    "mlp": MLP,
    "textgan": TextGAN,
    "began": BEGAN,
    "sg2im": SG2Im,
    "autoencoder": AutoencoderFamily,
    "pix2pix": Pix2Pix,
    "cyclegan": CycleGAN,
    "superres": SuperResolution,
    "inpainting": Inpainting,
    "pixelcnn": PixelCNNFamily,
    "dann": DANN,
}


def low_precision_of(precision: str) -> torch.dtype | None:
    """Returns the type of low-precision blocks under `engine.precision`; None for float32."""
    return torch.bfloat16 if precision == "bfloat16" else None


def build_family(
    config: FamilyConfig,
    spec: ImageSpec,
    *,
    batch_size: int,
    low_precision: torch.dtype | None = None,
) -> Family:
    """Returns the family that `config.name` names, for images as `spec` describes them.

    batch_size: images per step over all ranks. low_precision: the type that the family may use in passes that
    are not exact. Raises UserError for an unknown name, or for images or batches that the family cannot use.
    """
    name: Any = config.name
    if name not in FAMILIES:
        raise UserError(f"family.name: {name!r} is unknown; allowed: {', '.join(FAMILIES)}")
    return FAMILIES[name](config, spec, batch_size=batch_size, low_precision=low_precision)
