"""VGG16 features: torch-fidelity's, by checked weights alone."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from torch_fidelity.feature_extractor_vgg16 import FeatureExtractorVGG16

from pipeline.errors import UserError
from pipeline.evaluation.comparison import random_vgg16
from pipeline.evaluation.features.extractors import fetch_weights, make_extractors
from pipeline.evaluation.features.vgg16 import Vgg16Extractor
from pipeline.evaluation.features.weights import VGG16, PerceptualWeights
from pipeline.evaluation.settings import PathSettings, Settings


def saved(path: Path, content: object) -> PerceptualWeights:
    torch.save(content, path)
    return PerceptualWeights(vgg=path, vgg_sha256=hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.mark.slow
def test_they_are_torch_fidelitys(tmp_path: Path) -> None:
    weights = saved(tmp_path / "vgg.pth", random_vgg16())
    extractor = Vgg16Extractor(weights)
    images = torch.randint(0, 256, (2, 3, 40, 31), generator=torch.Generator().manual_seed(0))
    features, logits = extractor(images.to(torch.uint8))
    reference = FeatureExtractorVGG16("vgg16", ["fc2_relu"], feature_extractor_weights_path=str(weights.vgg))
    (expected,) = reference(images.to(torch.uint8))
    torch.testing.assert_close(features, expected, rtol=1e-5, atol=1e-5)
    assert logits is None
    assert features.shape == (2, extractor.size)
    assert extractor.digest == weights.vgg_sha256


def test_other_weights_are_refused(tmp_path: Path) -> None:
    weights = saved(tmp_path / "vgg.pth", {"a": torch.ones(1)})
    with pytest.raises(UserError, match=r"vgg\.pth: VGG16 weights: names or shapes .*Missing key") as caught:
        Vgg16Extractor(weights)
    assert "\n" not in str(caught.value)
    settings = Settings(("pr",), paths=PathSettings(weights=PerceptualWeights(vgg=tmp_path / "vgg.pth")))
    for act in (make_extractors, fetch_weights):
        with pytest.raises(UserError, match=f"VGG16 weights: sha256 is [0-9a-f]+, must be {VGG16.sha256}"):
            act(settings)
