"""BigGAN's networks against the paper's tables, closed forms and properties."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pipeline.config.families import BigGANConfig
from pipeline.contracts import ImageSpec
from pipeline.errors import UserError
from pipeline.models.biggan import BigGAN
from pipeline.models.biggan.blocks import Attention, DeepDiscriminatorBlock, DeepGeneratorBlock
from pipeline.models.biggan.family import initialise, orthogonal_weights
from pipeline.models.biggan.generator import Generator
from pipeline.models.biggan.shape import Block, Shape
from pipeline.models.layers import Spectral
from tests.small_run import size_of  # noqa: F401
