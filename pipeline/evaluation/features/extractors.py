"""The choice of feature extractor: Inception, on which FID was defined; VGG16, on which precision and recall
were; DINOv2 or CLIP, which agree better with human judgement of faces (Kynkaanniemi et al. 2023, Stein et al.
2023); or a user's own.

A user's own extractor is named by import path, `package.module:factory`, and made by `factory(device)` on
every process, where `device` is the `torch.device` to compute on. It is the user's code, imported like any
other module and run without restrictions; it is only checked to be an `Extractor` with a name of its own.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from pipeline.errors import UserError
from pipeline.evaluation.features.extractor import Extractor
from pipeline.evaluation.metrics.registry import METRICS, PLAIN, extractors_of
from pipeline.evaluation.settings import Settings

_MEMBERS = ("name", "digest", "resize", "size", "has_logits")


@dataclass(frozen=True)
class Listed:
    """An extractor that can be chosen by name. make: makes it on the settings' device. fetch: ensures that
    its files are present. library: an optional library that it needs."""

    make: Callable[[Settings], Extractor]
    fetch: Callable[[Settings], object]
    library: str | None = "torch_fidelity"


# Most need an optional library, so each is imported only when it is asked for.
def _inception(settings: Settings) -> Extractor:
    from pipeline.evaluation.features.inception import InceptionExtractor

    return InceptionExtractor(settings.inception, settings.device)


def _vgg16(settings: Settings) -> Extractor:
    from pipeline.evaluation.features.vgg16 import Vgg16Extractor

    return Vgg16Extractor(settings.paths.weights, settings.device)


def _dinov2(settings: Settings) -> Extractor:
    from pipeline.evaluation.features.dinov2 import DinoV2Extractor

    return DinoV2Extractor(settings.extractor, settings.device)


def _fetch_dinov2(settings: Settings) -> None:
    from pipeline.evaluation.features.dinov2 import fetch

    fetch(settings.extractor)


def _clip(settings: Settings) -> Extractor:
    from pipeline.evaluation.features.clip import ClipExtractor

    return ClipExtractor(settings.extractor, settings.device)


def _fetch_clip(settings: Settings) -> None:
    from pipeline.evaluation.features.clip import fetch

    fetch(settings.extractor)


def _clip_l14(settings: Settings) -> Extractor:
    from pipeline.evaluation.features.clip_l14 import ClipL14Extractor

    return ClipL14Extractor(settings.extractor, settings.device)


def _fetch_clip_l14(settings: Settings) -> None:
    from pipeline.evaluation.features.clip_l14 import fetch

    fetch(settings.extractor)


EXTRACTORS: Mapping[str, Listed] = {
    "inception": Listed(_inception, lambda settings: settings.inception.read()),
    "vgg16": Listed(_vgg16, lambda settings: settings.paths.weights.read_vgg()),
    "dinov2": Listed(_dinov2, _fetch_dinov2),
    "clip": Listed(_clip, _fetch_clip),
    "clip-l14": Listed(_clip_l14, _fetch_clip_l14, library=None),
}


def make_extractors(settings: Settings) -> dict[str, Extractor]:
    """The extractors that the settings' metrics need, by name."""
    return {name: make_extractor(name, settings) for name in extractors_of(settings)}


def make_extractor(name: str, settings: Settings) -> Extractor:
    """The extractor of that name, on the settings' device. UserError if there is none, or if its files are
    missing."""
    return _own(name, settings.device) if ":" in name else _listed(name, settings).make(settings)


def check_extractors(settings: Settings, extractors: Mapping[str, Extractor]) -> None:
    """Raises UserError if a metric needs logits and its extractor gives none."""
    for name in settings.metrics:
        chosen = METRICS[name].extractor_in(settings)
        if METRICS[name].logits and chosen is not None and not extractors[chosen].has_logits:
            raise UserError(
                f"--metrics {name}: the extractor {extractors[chosen].name} gives no classes; "
                f"remove {name} from --metrics, or use --extractor inception"
            )


def fetch_weights(settings: Settings) -> None:
    """Ensures that all weights the metrics need are present. UserError for an unknown extractor."""
    for name in settings.metrics:
        for read in METRICS[name].readers(settings):
            read()
    for name in extractors_of(settings):
        if ":" not in name:
            _listed(name, settings).fetch(settings)


def _listed(name: str, settings: Settings) -> Listed:
    if name not in EXTRACTORS:
        near = difflib.get_close_matches(name, EXTRACTORS, n=1)
        raise UserError(
            f"--extractor {name}: unknown; allowed: {', '.join(EXTRACTORS)}, package.module:factory"
            + (f"; did you mean {near[0]}?" if near else "")
        )
    listed = EXTRACTORS[name]
    if listed.library is not None and importlib.util.find_spec(listed.library) is None:
        mend = "torch-fidelity is not installed; allowed: pip install 'hrgan[eval]'"
        if not settings.metrics:
            raise UserError(f"--extractor {name}: {mend}")
        raise UserError(f"--metrics {','.join(settings.metrics)}: {mend}, or --metrics {','.join(PLAIN)}")
    return listed


def _own(name: str, device: torch.device) -> Extractor:
    module, _, factory = name.partition(":")
    where = f"--extractor {name}"
    try:
        make: Any = getattr(importlib.import_module(module), factory)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{where}: cannot be imported ({error}); is its folder in PYTHONPATH?") from error
    made: Any = make(device)
    missing = [member for member in _MEMBERS if not hasattr(made, member)]
    if missing or not callable(made):
        raise UserError(
            f"{where}: what it makes lacks {', '.join(missing) or 'a call'}; needed: {', '.join(_MEMBERS)} "
            "and a call with uint8 RGB images, see pipeline/evaluation/features/extractor.py"
        )
    extractor: Extractor = made
    if extractor.name in EXTRACTORS:
        raise UserError(f"{where}: calls itself {extractor.name}, like a built-in one; give it another name")
    return extractor
