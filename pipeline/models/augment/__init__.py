"""Differentiable augmentation of what the discriminator sees."""
