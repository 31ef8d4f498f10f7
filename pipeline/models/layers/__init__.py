"""Layers that several families use."""

from pipeline.models.layers.batch_norm import BatchNorm, gather_statistics
from pipeline.models.layers.compiled import Compilable, compile_main_phases
from pipeline.models.layers.conditioning import LabelledLatent, VerdictHead, one_hot
from pipeline.models.layers.equalized import Conv2d, Linear
from pipeline.models.layers.group_norm import GroupBatchNorm, follow_moments, measuring
from pipeline.models.layers.instance_norm import InstanceNorm
from pipeline.models.layers.modulated import ModulatedConv2d, ToImage
from pipeline.models.layers.patches import PatchNetwork, initialise, least_side
from pipeline.models.layers.recomputed import Again, Recomputable, recompute_blocks
from pipeline.models.layers.spectral import Spectral, SpectralConv2d, SpectralEmbedding, SpectralLinear

__all__ = [
    "Again",
    "BatchNorm",
    "Compilable",
    "Conv2d",
    "GroupBatchNorm",
    "InstanceNorm",
    "LabelledLatent",
    "Linear",
    "ModulatedConv2d",
    "PatchNetwork",
    "Recomputable",
    "Spectral",
    "SpectralConv2d",
    "SpectralEmbedding",
    "SpectralLinear",
    "ToImage",
    "VerdictHead",
    "compile_main_phases",
    "follow_moments",
    "gather_statistics",
    "initialise",
    "least_side",
    "measuring",
    "one_hot",
    "recompute_blocks",
]
