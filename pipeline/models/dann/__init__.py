"""Domain-adversarial features (Ganin et al. 2016), which tell classes and not the set that an image is of."""

from pipeline.models.dann.family import DANN

__all__ = ["DANN"]
