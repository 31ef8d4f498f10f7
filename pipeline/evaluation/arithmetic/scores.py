"""Metrics of Inception's outputs besides FID: KID and the Inception score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, KEY_METRIC_ISC_STD, isc_features_to_metric
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

SUBSETS_SEED = 2020
"""The seed of KID's subsets and of the Inception score's shuffle: torch-fidelity's default, so that figures
equal its own."""

KID_SUBSETS = 100
KID_SUBSET_SIZE = 1000
SPLITS = 10


def kernel_distance(fakes: Tensor, reals: Tensor) -> dict[str, Any]:
    """KID (Binkowski et al. 2018, section 4): the unbiased MMD^2 under the kernel (x.y / D + 1)^3, averaged
    over 100 subsets of 1,000 images, or of all images if a set has fewer."""
    size = min(KID_SUBSET_SIZE, len(fakes), len(reals))
    figures = kid_features_to_metric(
        fakes.cpu(),
        reals.cpu(),
        kid_subsets=KID_SUBSETS,
        kid_subset_size=size,
        rng_seed=SUBSETS_SEED,
        verbose=False,
    )
    spread = figures[KEY_METRIC_KID_STD]
    return {
        "value": figures[KEY_METRIC_KID_MEAN],
        "std": spread,
        "subsets": KID_SUBSETS,
        "subset_size": size,
        "seed": SUBSETS_SEED,
    }


def inception_score(logits: Tensor) -> dict[str, Any]:
    """exp(E KL(p(y|x) || p(y))), averaged over ten splits (Salimans et al. 2016, section 4). `logits` are [N,
    1008]."""
    figures: Mapping[str, float] = isc_features_to_metric(
        logits.cpu(), splits=SPLITS, shuffle=True, rng_seed=SUBSETS_SEED
    )
    return {
        "value": figures[KEY_METRIC_ISC_MEAN],
        "std": figures[KEY_METRIC_ISC_STD],
        "splits": SPLITS,
        "seed": SUBSETS_SEED,
    }
