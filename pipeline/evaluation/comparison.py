"""For comparisons with torch-fidelity: random weights that need no download, and torch-fidelity's own
command."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
import torch_fidelity
from PIL import Image
from torch import Tensor, nn
from torch_fidelity import feature_extractor_inceptionv3 as inception_module
from torchvision.models import vgg16

from pipeline.evaluation.arithmetic.scores import KID_SUBSET_SIZE
from pipeline.evaluation.features.extractor import as_rgb
from pipeline.evaluation.features.weights import INCEPTION, VGG16
from pipeline.randomness import seed_everything, seeded

RANDOM_WEIGHTS = ("Inception", "VGG16")
"""The networks for which `write_weights` makes random weights."""


def random_inception(seed: int = 0) -> dict[str, Tensor]:
    """Random weights in the layout of the published file, whose features vary between images: He's
    initialisation, and batch norm with mean 0 and variance 1."""
    with _without_weights(), torch.random.fork_rng():
        network = torch_fidelity.FeatureExtractorInceptionV3("random", ["2048"])
        seed_everything(seed)
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)
        network.fc.weight.data.mul_(30)  # so that logits differ between images
    state: dict[str, Tensor] = network.state_dict()
    return state


@contextlib.contextmanager
def _without_weights() -> Iterator[None]:
    """Keeps torch-fidelity's network from loading weights in its constructor."""
    kind = torch_fidelity.FeatureExtractorInceptionV3
    fetch = inception_module.load_state_dict_from_url
    inception_module.load_state_dict_from_url = lambda *_, **__: {}
    kind.load_state_dict = lambda *_, **__: None
    try:
        yield
    finally:
        inception_module.load_state_dict_from_url = fetch
        del kind.load_state_dict


def random_vgg16(seed: int = 0) -> dict[str, Tensor]:
    """Random weights in the layout of the published file: He's initialisation, and biases of 0. The rows of
    the fully connected layers overlap in memory, so that the file is small."""
    with torch.device("meta"):
        shapes = {name: weight.shape for name, weight in vgg16(init_weights=False).state_dict().items()}
    generator = seeded(seed)
    state: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        if len(shape) == 1:
            state[name] = torch.zeros(shape)
            continue
        gain = (2 / shape[1:].numel()) ** 0.5
        if len(shape) == 2:
            state[name] = (gain * torch.randn(sum(shape), generator=generator)).as_strided(shape, (1, 1))
        else:
            state[name] = gain * torch.randn(shape, generator=generator)
    return state


def write_weights(home: Path) -> tuple[Path, Path]:
    """Writes random weights of Inception and VGG16 under the published files' names, for $TORCH_HOME =
    `home`, and returns both paths."""
    folder = home / "hub" / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / INCEPTION.names[0], folder / VGG16.names[0]
    for path, make in zip(paths, (random_inception, random_vgg16), strict=True):
        if not path.exists():
            torch.save(make(), path)
    return paths


def torch_fidelitys(fakes: Tensor, reals: Tensor, home: Path) -> dict[str, float]:
    """FID, KID, IS, precision and recall of uint8 images [N, C, H, W], under our names, as
    torch-fidelity's own command computes them from folders with its defaults. `home` is its $TORCH_HOME,
    see `write_weights`."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "torch_fidelity.fidelity", "--isc", "--fid", "--kid", "--prc"]
        for option, images in (("--input1", fakes), ("--input2", reals)):
            command += [option, str(_as_files(images, Path(folder, option[2:])))]
        least = min(len(fakes), len(reals))
        if least < KID_SUBSET_SIZE:  # torch-fidelity refuses smaller sets than its subsets
            command += ["--kid-subset-size", str(least)]
        done = subprocess.run(
            [*command, "--json", "--silent"],
            env={**os.environ, "TORCH_HOME": str(home)},
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    figures = json.loads(done.stdout)
    return {
        "fid.value": figures["frechet_inception_distance"],
        "kid.value": figures["kernel_inception_distance_mean"],
        "kid.std": figures["kernel_inception_distance_std"],
        "is.value": figures["inception_score_mean"],
        "is.std": figures["inception_score_std"],
        "pr.precision": figures["precision"],
        "pr.recall": figures["recall"],
        "pr.value": figures["f_score"],
    }


def _as_files(images: Tensor, folder: Path) -> Path:
    folder.mkdir()
    for number, image in enumerate(as_rgb(images)):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{number:08d}.png")
    return folder
