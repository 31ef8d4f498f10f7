"""DINOv2 (Oquab et al. 2023), whose features agree with human judgement of images better than Inception's."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.evaluation.features.vgg16 import as_imagenet
from pipeline.evaluation.features.weights import (
    OPTION,
    WITHOUT,
    ExtractorChoice,
    Published,
    parse_tensors,
    read_checked,
)

DINOV2 = Published(
    "DINOv2",
    ("dinov2_vitl14_pretrain.pth",),
    "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth",
    "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",
    OPTION,
    WITHOUT,
)
_CODE, _MODEL = "facebookresearch_dinov2_main", "dinov2_vitl14"


class DinoV2Extractor:
    """Class tokens of DINOv2's ViT-L/14 (Oquab et al. 2023). The code is read from torch hub's folder, where
    `torch.hub` puts it; the weights are verified."""

    name, size, has_logits = "dinov2", 1024, False
    resize = "bilinear to 224 as TensorFlow 1 did, without antialiasing"

    def __init__(self, choice: ExtractorChoice, device: torch.device) -> None:
        code = _code()
        path, data = read_checked(DINOV2, choice.path, choice.sha256)
        self.digest, self.device = (choice.sha256 or DINOV2.sha256).lower(), device
        network = torch.hub.load(str(code), _MODEL, source="local", pretrained=False)  # type: ignore[no-untyped-call]
        try:
            network.load_state_dict(parse_tensors(DINOV2, path, data))
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"{path}: DINOv2 weights: not of {_MODEL} ({reason})") from error
        self._network: nn.Module = network.to(device).eval().requires_grad_(False)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> tuple[Tensor, None]:
        """uint8 RGB [N, 3, H, W] -> features [N, 1024] float32 on the CPU."""
        return self._network(as_imagenet(images.to(self.device))).float().cpu(), None


def _code() -> Path:
    folder = Path(torch.hub.get_dir()) / _CODE
    if not (folder / "hubconf.py").is_file():
        raise UserError(
            f"{folder}: DINOv2's code is not there; on a machine with network access: git clone --depth 1 "
            f"https://github.com/facebookresearch/dinov2 {folder}; {WITHOUT}"
        )
    return folder


def fetch(choice: ExtractorChoice) -> None:
    """Ensures that code and weights are present."""
    _code()
    read_checked(DINOV2, choice.path, choice.sha256)
