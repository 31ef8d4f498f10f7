"""Walks through a trained generator's latent space, as pictures."""
