"""Inception features as FID was defined on them: the 2015 network with its own resize, on uint8 images."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from torch import Tensor
from torch_fidelity import FeatureExtractorInceptionV3

from pipeline.errors import UserError
from pipeline.evaluation.features.weights import INCEPTION, InceptionWeights


class InceptionExtractor:
    """Pooled features and logits of torch-fidelity's Inception.

    `digest` is the sha256 of its weights. See `extractor.Extractor` for the rest.
    """

    name, size, has_logits = "inception", 2048, True
    resize = "bilinear to 299 as TensorFlow 1 did, without antialiasing"

    def __init__(self, weights: InceptionWeights, device: torch.device | str = "cpu") -> None:
        self.digest = weights.sha256.lower()
        self.device = torch.device(device)
        self._network = _network(weights.read(), weights.path).to(self.device)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 RGB [N, 3, H, W] -> (features [N, 2048], unbiased logits [N, 1008]), float32, on the CPU."""
        features, logits = self._network(images.to(self.device))
        return features.cpu(), logits.cpu()


def _network(state: dict[str, Tensor], path: Path | None) -> torch.nn.Module:
    # torch-fidelity's constructor unpickles its file unsafely: it is given a file of our own with the
    # verified tensors.
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    try:
        network: torch.nn.Module = FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=buffer
        )
    except RuntimeError as error:
        raise UserError(
            f"{path or INCEPTION.names[0]}: Inception weights: names or shapes are not those of the "
            f"2015 Inception ({str(error).splitlines()[0]})"
        ) from error
    return network
