"""Which network's features: Inception's, as FID was defined; VGG16's, as precision and recall were; DINOv2's
or CLIP's, which follow human judgement of faces better (Kynkaanniemi et al. 2023, Stein et al. 2023); or a
user's own.

A user's own is named by import path, `package.module:factory`, and made by `factory(device)` on every
process, with the `torch.device` to compute on. It is the user's code, found like any other module and run
with all rights; nothing of it is checked but that it is an `Extractor` with a name of its own.
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
from pipeline.evaluation.names import PATH_METRICS, WITHOUT_WEIGHTS
from pipeline.evaluation.plan import Settings
from pipeline.evaluation.statistics import Extractor
from pipeline.evaluation.weights import ExtractorChoice, Published, parse_tensors, read_checked

NAMES = ("inception", "vgg16", "dinov2", "clip")
_OPTION = "--extractor-weights FILE"
_WITHOUT = "the extractors inception and vgg16 and the metrics swd and msssim do without"
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


def make_extractors(settings: Settings) -> dict[str, Extractor]:
    """Those that the settings' metrics need, by name."""
    return {name: make_extractor(name, settings) for name in settings.by_extractor()}


def make_extractor(name: str, settings: Settings) -> Extractor:
    """The extractor of that name, on the settings' device. UserError if it is not there."""
    if ":" in name:
        return _own(name, settings.device)
    _check_name(name)
    _need_torch_fidelity(name, settings)
    if name == "dinov2":
        return DinoV2Extractor(settings.extractor, settings.device)
    if name == "clip":
        return ClipExtractor(settings.extractor, settings.device)
    # An optional library stands behind these.
    from pipeline.evaluation.inception import InceptionExtractor
    from pipeline.evaluation.vgg16 import Vgg16Extractor

    if name == "vgg16":
        return Vgg16Extractor(settings.paths.weights, settings.device)
    return InceptionExtractor(settings.inception, settings.device)


def fetch_weights(settings: Settings) -> None:
    """Sees to it that all weights which the metrics need are there; UserError for an unknown extractor."""
    if not PATH_METRICS.isdisjoint(settings.metrics):
        settings.paths.weights.read_vgg()
        settings.paths.weights.read_lpips()
    for name in settings.by_extractor():
        if ":" not in name:
            _check_name(name)
            _fetch_weights_of(name, settings)


def _fetch_weights_of(name: str, settings: Settings) -> None:
    choice = settings.extractor
    if name == "inception":
        settings.inception.read()
    elif name == "vgg16":
        settings.paths.weights.read_vgg()
    elif name == "dinov2":
        _dinov2_code()
        read_checked(DINOV2, choice.path, choice.sha256)
    else:
        _need_torch_fidelity(name, settings)
        read_checked(_clip(), choice.path, choice.sha256)


def _check_name(name: str) -> None:
    if name not in NAMES:
        near = difflib.get_close_matches(name, NAMES, n=1)
        raise UserError(
            f"--extractor {name}: unknown; allowed: {', '.join(NAMES)}, package.module:factory"
            + (f"; did you mean {near[0]}?" if near else "")
        )


def _need_torch_fidelity(name: str, settings: Settings) -> None:
    if importlib.util.find_spec("torch_fidelity") is None:
        mend = "torch-fidelity is not installed; allowed: pip install 'hrgan[eval]'"
        if not settings.metrics:
            raise UserError(f"--extractor {name}: {mend}")
        raise UserError(
            f"--metrics {','.join(settings.metrics)}: {mend}, or --metrics {','.join(WITHOUT_WEIGHTS)}"
        )


class DinoV2Extractor:
    """Class tokens of DINOv2's ViT-L/14 (Oquab et al. 2023). Its code comes from torch hub's folder, where
    `torch.hub` puts it; its weights are checked."""

    name, size, has_logits = "dinov2", 1024, False
    resize = "bilinear to 224 as TensorFlow 1 did, without antialiasing"

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
        from pipeline.evaluation.vgg16 import as_imagenet

        return self._network(as_imagenet(images.to(self.device))).float().cpu(), None


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


def _own(name: str, device: torch.device) -> Extractor:
    module, _, factory = name.partition(":")
    where = f"--extractor {name}"
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
    if extractor.name in NAMES:
        raise UserError(f"{where}: names itself {extractor.name}, as another is named; give it its own name")
    return extractor
