"""For checks of figures against torch-fidelity's: weights that need no download, and its own command."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch
import torch_fidelity
from torch import Tensor, nn
from torch_fidelity import feature_extractor_inceptionv3 as inception_module

from pipeline.evaluation.statistics import as_rgb
from pipeline.randomness import seed_everything


def random_inception(seed: int = 0) -> dict[str, Tensor]:
    """Weights in the published file's layout whose features spread over images: He's initialisation, batch
    norm of mean 0 and variance 1."""
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
    """Their network loads weights as it is made: meanwhile, it loads none."""
    kind = torch_fidelity.FeatureExtractorInceptionV3
    fetch = inception_module.load_state_dict_from_url
    inception_module.load_state_dict_from_url = lambda *_, **__: {}
    kind.load_state_dict = lambda *_, **__: None
    try:
        yield
    finally:
        inception_module.load_state_dict_from_url = fetch
        del kind.load_state_dict


class _Images(torch.utils.data.Dataset[Tensor]):
    def __init__(self, images: Tensor) -> None:
        self._images = as_rgb(images)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, number: int) -> Tensor:
        return self._images[number]


def torch_fidelitys(
    fakes: Tensor, reals: Tensor, weights: Path, *, subset_size: int, batch_size: int
) -> dict[str, float]:
    """FID, KID, IS, precision and recall of uint8 images [N, C, H, W], as `calculate_metrics` gives them, by
    our names."""
    found = torch_fidelity.calculate_metrics(
        input1=_Images(fakes),
        input2=_Images(reals),
        feature_extractor="inception-v3-compat",
        feature_extractor_weights_path=str(weights),
        fid=True,
        kid=True,
        isc=True,
        prc=True,
        kid_subset_size=subset_size,
        batch_size=batch_size,
        cuda=False,
        save_cpu_ram=True,
        cache=False,
        verbose=False,
    )
    return {
        "fid.value": found["frechet_inception_distance"],
        "kid.value": found["kernel_inception_distance_mean"],
        "kid.std": found["kernel_inception_distance_std"],
        "is.value": found["inception_score_mean"],
        "is.std": found["inception_score_std"],
        "pr.precision": found["precision"],
        "pr.recall": found["recall"],
        "pr.value": found["f_score"],
    }
