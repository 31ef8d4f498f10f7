"""Walks through a trained generator's latents, as pictures a person can look at."""
