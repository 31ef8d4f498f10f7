"""Inception with random weights of a fixed seed, in the published file's layout."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
import torch

from pipeline.evaluation.comparison import random_inception
from pipeline.evaluation.features.weights import InceptionWeights


@pytest.fixture(scope="session")
def inception(tmp_path_factory: pytest.TempPathFactory) -> InceptionWeights:
    path = tmp_path_factory.mktemp("inception") / "random.pth"
    torch.save(random_inception(), path)
    return InceptionWeights(path, hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.fixture
def torch_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty $TORCH_HOME; its checkpoints folder."""
    monkeypatch.setitem(os.environ, "TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder
