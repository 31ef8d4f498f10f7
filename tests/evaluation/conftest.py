"""Inception with random weights of a fixed seed, in the published file's layout."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
import torch
from torch_fidelity import FeatureExtractorInceptionV3
from torch_fidelity import feature_extractor_inceptionv3 as theirs

from pipeline.evaluation.weights import InceptionWeights


def random_state() -> dict[str, torch.Tensor]:
    """Weights whose features spread over images: He's initialisation, batch norm of mean 0 and variance 1."""

    class Unloaded(FeatureExtractorInceptionV3):
        def load_state_dict(self, *_: object, **__: object) -> None:
            pass

    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        patch.setattr(theirs, "load_state_dict_from_url", lambda *_, **__: {})
        network = Unloaded("random", ["2048"])
        torch.manual_seed(0)
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
                torch.nn.init.kaiming_normal_(module.weight)
        network.fc.weight.mul_(30)  # so that logits differ between images
    return network.state_dict()


@pytest.fixture(scope="session")
def inception(tmp_path_factory: pytest.TempPathFactory) -> InceptionWeights:
    path = tmp_path_factory.mktemp("inception") / "random.pth"
    torch.save(random_state(), path)
    return InceptionWeights(path, hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.fixture
def torch_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty $TORCH_HOME; its checkpoints folder."""
    monkeypatch.setitem(os.environ, "TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder
