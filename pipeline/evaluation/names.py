"""Names of metrics: what can be asked for, whose features each looks at, what is better."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

METRICS = ("fid", "kid", "is", "pr", "dc", "ppl-z", "ppl-w", "swd", "msssim")

STANDARD_EXTRACTORS: Mapping[str, str] = {
    "fid": "inception",  # Heusel et al. 2017, section 3
    "kid": "inception",  # Binkowski et al. 2018, section 4
    "is": "inception",  # Salimans et al. 2016, section 4
    "pr": "vgg16",  # Kynkaanniemi et al. 2019, section 3
    "dc": "vgg16",  # Naeem et al. 2020, as precision and recall
}
"""Whose features the published figures of a metric are of."""

FEATURE_METRICS = frozenset(STANDARD_EXTRACTORS)
NEIGHBOUR_METRICS = frozenset(("pr", "dc"))
PATH_METRICS = frozenset(("ppl-z", "ppl-w"))
WITHOUT_WEIGHTS = ("swd", "msssim")

PARTS: Mapping[str, tuple[str, str]] = {"pr": ("precision", "recall"), "dc": ("density", "coverage")}
"""What people know these metrics by."""

Better = Literal["lower is better", "higher is better", "best near the reals"]
_HIGHER = frozenset(("is", "pr", "dc"))
_NEAR = frozenset(("msssim",))  # as low as the reals' is best, not as low as can be
_ONLY_EXTRACTOR = "inception"  # of figures from before results named it


def base_of(metric: str) -> str:
    """fid-dinov2 -> fid: which of METRICS a name in a result stands for."""
    return max(
        (name for name in METRICS if metric == name or metric.startswith(f"{name}-")), key=len, default=metric
    )


def better(metric: str) -> Better:
    """Which values of a metric, by its name in results, are better ones."""
    base = base_of(metric)
    if base in _NEAR:
        return "best near the reals"
    return "higher is better" if base in _HIGHER else "lower is better"


def name_of(metric: str, extractor: str) -> str:
    """In results: of other features than the metric's standard, figures have names of their own."""
    standard = STANDARD_EXTRACTORS.get(metric, extractor)
    return metric if extractor == standard else f"{metric}-{extractor}"


def by_name(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """What a result file holds, by the names of now: `pr` and `dc` by Inception once stood there as such."""
    return {
        name_of(name, figures.get("extractor_name", _ONLY_EXTRACTOR))
        if name in STANDARD_EXTRACTORS
        else name: figures
        for name, figures in metrics.items()
    }
