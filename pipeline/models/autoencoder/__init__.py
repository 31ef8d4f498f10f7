"""The KL autoencoder of Rombach et al. 2022, and the variational autoencoder of Kingma and Welling 2014."""

from pipeline.models.autoencoder.autoencoder import Autoencoder, autoencoder_from
from pipeline.models.autoencoder.moments import Moments, moments_of
from pipeline.models.autoencoder.shape import Shape, shape_of

__all__ = [
    "Autoencoder",
    "Moments",
    "Shape",
    "autoencoder_from",
    "moments_of",
    "shape_of",
]
