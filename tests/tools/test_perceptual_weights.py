"""The fixture of published weights measures what the metrics' network measures."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pipeline.evaluation.features.lpips import Perceptual
from pipeline.perceptual import VGG19_STAGES, features_from, perceptual_from
from tests.evaluation.perceptual import random_perceptual
from tools.perceptual_weights import main


def test_the_fixture_is_the_network_of_the_metrics(tmp_path: Path) -> None:
    weights, out = random_perceptual(tmp_path), tmp_path / "perceptual.safetensors"
    names = ("--vgg-weights", "--vgg-digest", "--lpips-weights", "--lpips-digest")
    values = (weights.vgg, weights.vgg_sha256, weights.lpips, weights.lpips_sha256)
    options = [str(word) for pair in zip(names, values, strict=True) for word in pair]
    assert main([str(out), *options]) == 0
    network = perceptual_from(load_file(out))
    x, y = torch.rand(2, 2, 3, 16, 16)
    with torch.no_grad():
        ours, theirs = network(x * 2 - 1, y * 2 - 1), Perceptual(weights)(x * 255, y * 255)
    torch.testing.assert_close(ours, theirs)


def test_vgg19_is_written_by_its_own_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Against torchvision's numbering: a convolution, a ReLU, a pooling after each stage."""
    layers: list[torch.nn.Module] = []
    before = 3
    for widths in VGG19_STAGES:
        for width in widths:
            layers += [torch.nn.Conv2d(before, width, 3, padding=1), torch.nn.ReLU()]
            before = width
        layers.append(torch.nn.MaxPool2d(2))
    published = torch.nn.Sequential(*layers)
    file, out = tmp_path / "vgg19.pth", tmp_path / "vgg19.safetensors"
    torch.save({f"features.{name}": value for name, value in published.state_dict().items()}, file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert main([str(out), "--vgg19", str(file), "--vgg19-digest", digest]) == 0
    network = features_from(load_file(out), {"conv2_1": 1.0, "relu5_4": 1.0}, normalised=False)
    images = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        found = network.features(images)
        torch.testing.assert_close(found["conv2_1"], published[:6](images))
        torch.testing.assert_close(found["relu5_4"], published[:-1](images))
    assert main([str(out), "--vgg19", str(file)]) == 2
    assert "give its sha256 too" in capsys.readouterr().err


def test_another_file_is_refused_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "vgg.pth"
    file.write_bytes(b"other")
    assert main([str(tmp_path / "out"), "--vgg-weights", str(file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "VGG16 weights: sha256 is" in line
    assert not (tmp_path / "out").exists()
