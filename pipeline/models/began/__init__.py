"""BEGAN (Berthelot et al. 2017), whose discriminator is an autoencoder."""

from pipeline.models.began.equilibrium import DiscriminatorTurn, Equilibrium
from pipeline.models.began.family import BEGAN, HalvedSchedule
from pipeline.models.began.game import BEGANGame, BEGANSampler
from pipeline.models.began.networks import Decoder, Discriminator, Encoder, Generator, Shape

__all__ = [
    "BEGAN",
    "BEGANGame",
    "BEGANSampler",
    "Decoder",
    "Discriminator",
    "DiscriminatorTurn",
    "Encoder",
    "Equilibrium",
    "Generator",
    "HalvedSchedule",
    "Shape",
]
