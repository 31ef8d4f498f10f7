"""Weights of VGG16 and LPIPS for tests."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torchvision.models.vgg import cfgs, make_layers

from pipeline.evaluation.features.weights import PerceptualWeights


def random_perceptual(folder: Path) -> PerceptualWeights:
    """Random ones, in the published files' layout."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = make_layers(cfgs["D"], batch_norm=False)
        vgg = {f"features.{name}": value for name, value in layers.state_dict().items()}
        linear = {
            f"lin{n}.model.1.weight": torch.rand(1, c, 1, 1) for n, c in enumerate((64, 128, 256, 512, 512))
        }
    torch.save(vgg, folder / "vgg.pth")
    torch.save(linear, folder / "lpips.pth")
    digests = [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("vgg.pth", "lpips.pth")]
    return PerceptualWeights(folder / "vgg.pth", folder / "lpips.pth", *digests)
