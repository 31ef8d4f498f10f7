"""The formats of other projects that `hrgan import` reads. A new format is one more entry here."""

from __future__ import annotations

from pipeline.models.autoencoder.format import FORMATS as AUTOENCODERS
from pipeline.models.biggan.format import AJBROCK
from pipeline.models.foreign import Format
from pipeline.models.stylegan2.foreign import ROSINALITY, STYLEGAN2_ADA
from pipeline.models.stylegan3.foreign import STYLEGAN3

FORMATS: tuple[Format, ...] = (STYLEGAN2_ADA, STYLEGAN3, ROSINALITY, AJBROCK, *AUTOENCODERS)
