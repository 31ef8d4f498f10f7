"""VGG16 features (Simonyan and Zisserman 2015), on which precision and recall were defined (Kynkaanniemi et
al. 2019, section 3): the second fully connected layer after its ReLU, as torch-fidelity computes it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x
from torchvision.models import vgg16

from pipeline.errors import UserError
from pipeline.evaluation.features.weights import VGG16, PerceptualWeights

_SIDE = 224
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # those of ImageNet, for images in [0, 1]
_KEPT = 5  # layers of the classifier that are kept, up to the second ReLU


class Vgg16Extractor:
    """The inputs of VGG16's last layer, computed with the same weights that path lengths use.

    `digest` is their sha256. See `extractor.Extractor` for the rest.
    """

    name, size, has_logits = "vgg16", 4096, False
    resize = "bilinear to 224 as TensorFlow 1 did, without antialiasing"

    def __init__(self, weights: PerceptualWeights, device: torch.device | str = "cpu") -> None:
        self.digest = weights.vgg_sha256.lower()
        self.device = torch.device(device)
        self._network = _network(weights).to(self.device)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> tuple[Tensor, None]:
        """uint8 RGB [N, 3, H, W] -> features [N, 4096] float32, on the CPU."""
        return self._network(as_imagenet(images.to(self.device))).cpu(), None


def as_imagenet(images: Tensor) -> Tensor:
    """uint8 RGB [N, 3, H, W] -> [N, 3, 224, 224] float32, normalised by ImageNet's mean and deviation."""
    x: Tensor = interpolate_bilinear_2d_like_tensorflow1x(
        images.float(), size=(_SIDE, _SIDE), align_corners=False
    )
    mean, deviation = (
        torch.tensor([255 * value for value in values], device=x.device).view(1, 3, 1, 1)
        for values in (_MEAN, _DEVIATION)
    )
    return (x - mean) / deviation


def _network(weights: PerceptualWeights) -> nn.Module:
    with torch.device("meta"):  # without initialising 138 million parameters
        network = vgg16(weights=None, init_weights=False)
    network.to_empty(device="cpu")
    try:
        network.load_state_dict(weights.read_vgg())
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise UserError(
            f"{weights.vgg or VGG16.names[0]}: VGG16 weights: names or shapes are not VGG16's ({reason})"
        ) from error
    network.classifier = network.classifier[:_KEPT]
    features: nn.Module = network.eval().requires_grad_(False)
    return features
