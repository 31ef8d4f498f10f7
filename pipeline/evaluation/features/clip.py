"""CLIP's ViT-B/32 (Radford et al. 2021), as torch-fidelity uses it."""

from __future__ import annotations

import io
import warnings

import torch
from torch import Tensor, nn
from torch_fidelity.feature_extractor_clip import MODEL_METADATA, MODEL_URLS, FeatureExtractorCLIP

from pipeline.errors import UserError
from pipeline.evaluation.features.weights import (
    OPTION,
    WITHOUT,
    ExtractorChoice,
    Published,
    read_checked,
)

_MODEL = "clip-vit-b-32"
_DIGEST: str = MODEL_METADATA[_MODEL]["hash"]
CLIP = Published(
    "CLIP",
    # The file's names in torch-fidelity and in OpenAI's own package.
    (f"{_MODEL}-{_DIGEST}.pt", "ViT-B-32.pt"),
    MODEL_URLS[_MODEL],
    _DIGEST,
    OPTION,
    WITHOUT,
)


class ClipExtractor:
    """Image embeddings of CLIP's ViT-B/32 (Radford et al. 2021), as torch-fidelity computes them."""

    name, has_logits = "clip", False
    resize = "bilinear to the network's side as TensorFlow 1 did, without antialiasing"

    def __init__(self, choice: ExtractorChoice, device: torch.device) -> None:
        path, data = read_checked(CLIP, choice.path, choice.sha256)
        self.digest, self.device = (choice.sha256 or CLIP.sha256).lower(), device
        try:
            # A TorchScript archive: only its named tensors are read, and its program is not run.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # torch's, about the archive's format
                network = FeatureExtractorCLIP(
                    _MODEL, ["clip"], feature_extractor_weights_path=io.BytesIO(data), verbose=False
                )
        except (RuntimeError, KeyError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(f"{path}: CLIP weights: not an archive of CLIP ({reason})") from error
        self._network: nn.Module = network.to(device).eval()
        self.size = int(self(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))[0].shape[1])

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> tuple[Tensor, None]:
        """uint8 RGB [N, 3, H, W] -> features [N, 512] float32 on the CPU."""
        (features,) = self._network(images.to(self.device))
        return features.float().cpu(), None


def fetch(choice: ExtractorChoice) -> None:
    """Ensures that the weights are present and right."""
    read_checked(CLIP, choice.path, choice.sha256)
