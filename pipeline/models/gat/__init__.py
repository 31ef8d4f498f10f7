"""GAT (Scalable GANs with Transformers, 2025), transformers in both networks and several noised levels."""

from pipeline.models.gat.family import GAT

__all__ = ["GAT"]
