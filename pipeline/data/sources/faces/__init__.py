"""A parametric portrait painter: traits from a seed, a picture from traits."""
