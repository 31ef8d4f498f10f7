"""R3GAN (Huang et al. 2024), with a relativistic loss, R1 and R2, and plain modern residual networks."""

from pipeline.models.r3gan.family import R3GAN

__all__ = ["R3GAN"]
