"""Which network's features: Inception's, as FID was defined; DINOv2's or CLIP's, which follow human judgement
of faces better (Kynkaanniemi et al. 2023, Stein et al. 2023); or a user's own.

A user's own is named by import path, `package.module:factory`. It is the user's code, found like any other
module and run with all rights; nothing of it is checked but that it is an `Extractor`.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import io
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.evaluation.plan import PATH_METRICS, WITHOUT_WEIGHTS, Settings
from pipeline.evaluation.statistics import Extractor
from pipeline.evaluation.weights import LPIPS, VGG16, ExtractorChoice, Published, parse_tensors, read_checked

NAMES = ("inception", "dinov2", "clip")
_OPTION = "--extractor-weights FILE"
_WITHOUT = "the extractor inception and the metrics swd and msssim do without"
DINOV2 = Published(
    "DINOv2",
    ("dinov2_vitl14_pretrain.pth",),
    "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth",
    "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",
    _OPTION,
    _WITHOUT,
)
_DINOV2_CODE, _DINOV2_MODEL = "facebookresearch_dinov2_main", "dinov2_vitl14"
_CLIP_MODEL = "clip-vit-b-32"
_MEMBERS = ("name", "digest", "resize", "size", "has_logits")


def make_extractor(settings: Settings) -> Extractor:
    """The extractor that the settings name, on their device. UserError if it is not there."""
    choice = settings.extractor
    if ":" in choice.name:
        return _own(choice, settings.device)
    _check_name(choice.name)
    _need_torch_fidelity(settings)
    if choice.name == "dinov2":
        return DinoV2Extractor(choice, settings.device)
    if choice.name == "clip":
        return ClipExtractor(choice, settings.device)
    from pipeline.evaluation.inception import InceptionExtractor

    return InceptionExtractor(settings.inception, settings.device)


def fetch_weights(settings: Settings) -> None:
    """Sees to it that all weights which the metrics need are there; UserError for an unknown extractor."""
    choice = settings.extractor
    if not PATH_METRICS.isdisjoint(settings.metrics):
        weights = settings.paths.weights
        read_checked(VGG16, weights.vgg, weights.vgg_sha256)
        read_checked(LPIPS, weights.lpips, weights.lpips_sha256)
    if not settings.needs_extractor or ":" in choice.name:
        return
    _check_name(choice.name)
    if choice.name == "inception":
        settings.inception.read()
    elif choice.name == "dinov2":
        _dinov2_code()
        read_checked(DINOV2, choice.path, choice.sha256)
    elif choice.name == "clip":
        _need_torch_fidelity(settings)
        read_checked(_clip(), choice.path, choice.sha256)


def _check_name(name: str) -> None:
    if name not in NAMES:
        near = difflib.get_close_matches(name, NAMES, n=1)
        raise UserError(
            f"--extractor {name}: unknown; allowed: {', '.join(NAMES)}, package.module:factory"
            + (f"; did you mean {near[0]}?" if near else "")
        )


def _need_torch_fidelity(settings: Settings) -> None:
    if importlib.util.find_spec("torch_fidelity") is None:
        mend = "torch-fidelity is not installed; allowed: pip install 'hrgan[eval]'"
        if not settings.metrics:
            raise UserError(f"--extractor {settings.extractor.name}: {mend}")
        raise UserError(
            f"--metrics {','.join(settings.metrics)}: {mend}, or --metrics {','.join(WITHOUT_WEIGHTS)}"
        )


class DinoV2Extractor:
    """Class tokens of DINOv2's ViT-L/14 (Oquab et al. 2023). Its code comes from torch hub's folder, where
    `torch.hub` puts it; its weights are checked."""

    name, size, has_logits = "dinov2", 1024, False
    resize = "bilinear to 224 as TensorFlow 1 did, without antialiasing"
    _mean, _deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

    def __init__(self, choice: ExtractorChoice, device: torch.device) -> None:
        code = _dinov2_code()
        path, data = read_checked(DINOV2, choice.path, choice.sha256)
        self.digest, self.device = (choice.sha256 or DINOV2.sha256).lower(), device
        network = torch.hub.load(str(code), _DINOV2_MODEL, source="local", pretrained=False)  # type: ignore[no-untyped-call]
        try:
            network.load_state_dict(parse_tensors(DINOV2, path, data))
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"{path}: DINOv2 weights: not of {_DINOV2_MODEL} ({reason})") from error
        self._network: nn.Module = network.to(device).eval().requires_grad_(False)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> tuple[Tensor, None]:
        """uint8 RGB [N, 3, H, W] -> features [N, 1024] float32 on the CPU."""
        from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

        x = interpolate_bilinear_2d_like_tensorflow1x(
            images.to(self.device).float(), size=(224, 224), align_corners=False
        )
        mean, deviation = (
            255 * torch.tensor(values, device=x.device).view(1, 3, 1, 1)
            for values in (self._mean, self._deviation)
        )
        return self._network((x - mean) / deviation).float().cpu(), None


def _dinov2_code() -> Path:
    folder = Path(torch.hub.get_dir()) / _DINOV2_CODE
    if not (folder / "hubconf.py").is_file():
        raise UserError(
            f"{folder}: no code of DINOv2 there; on a machine with network: git clone --depth 1 "
            f"https://github.com/facebookresearch/dinov2 {folder}; {_WITHOUT}"
        )
    return folder


class ClipExtractor:
    """Image embeddings of CLIP's ViT-B/32 (Radford et al. 2021), as torch-fidelity takes them."""

    name, has_logits = "clip", False
    resize = "bilinear to the network's side as TensorFlow 1 did, without antialiasing"

    def __init__(self, choice: ExtractorChoice, device: torch.device) -> None:
        from torch_fidelity.feature_extractor_clip import FeatureExtractorCLIP

        published = _clip()
        path, data = read_checked(published, choice.path, choice.sha256)
        self.digest, self.device = (choice.sha256 or published.sha256).lower(), device
        try:
            # A TorchScript archive: named tensors are taken from it, and what it could compute is not run.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # torch's, of the archive's format
                network = FeatureExtractorCLIP(
                    _CLIP_MODEL, ["clip"], feature_extractor_weights_path=io.BytesIO(data), verbose=False
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


def _clip() -> Published:
    from torch_fidelity.feature_extractor_clip import MODEL_METADATA, MODEL_URLS

    digest, url = MODEL_METADATA[_CLIP_MODEL]["hash"], MODEL_URLS[_CLIP_MODEL]
    # As torch-fidelity and as OpenAI's own package name it.
    return Published("CLIP", (f"{_CLIP_MODEL}-{digest}.pt", "ViT-B-32.pt"), url, digest, _OPTION, _WITHOUT)


def _own(choice: ExtractorChoice, device: torch.device) -> Extractor:
    module, _, factory = choice.name.partition(":")
    where = f"--extractor {choice.name}"
    try:
        make: Any = getattr(importlib.import_module(module), factory)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{where}: cannot be imported ({error}); is its folder in PYTHONPATH?") from error
    found: Any = make(device)
    missing = [member for member in _MEMBERS if not hasattr(found, member)]
    if missing or not callable(found):
        raise UserError(
            f"{where}: what it makes lacks {', '.join(missing) or 'a call'}; needed: {', '.join(_MEMBERS)} "
            "and a call with uint8 RGB images, see Extractor in pipeline/evaluation/statistics.py"
        )
    extractor: Extractor = found
    return extractor
