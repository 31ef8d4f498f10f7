"""sg2im (Johnson et al. 2018), which draws scene graphs."""

from pipeline.models.sg2im.family import SG2Im

__all__ = ["SG2Im"]
