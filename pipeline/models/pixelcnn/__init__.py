"""PixelCNN and the Row LSTM of van den Oord et al. 2016a, and PixelCNN++ of Salimans et al. 2017."""

from pipeline.models.pixelcnn.family import PixelCNNFamily

__all__ = ["PixelCNNFamily"]
