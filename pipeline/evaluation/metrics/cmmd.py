"""CMMD (Jayasumana et al. 2024, section 4): the maximum mean discrepancy of CLIP's embeddings under a
Gaussian kernel, which assumes no distribution and settles with few images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.evaluation.metrics.by_features import FeatureMetric, Features, KnownFeatures
from pipeline.evaluation.metrics.metric import Figures, Shown
from pipeline.evaluation.metrics.needs import Fact, Needs, Reals, Rows, Tensors
from pipeline.evaluation.peers import Peers, blocks, in_order

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pipeline.evaluation.compared import Compared
    from pipeline.evaluation.features.extractor import Extractor
    from pipeline.evaluation.settings import Asked

SIGMA, SCALE = 10.0, 1000.0
ROWS, COLUMNS = 1000, 10_000  # a tile of distances: 80 MB


def mean_kernel(
    first: Tensor, second: Tensor, peers: Peers, device: torch.device | str = "cpu"
) -> Tensor | None:
    """The mean of k(x, y) - 1 over all pairs of a row x of `first` [N, D] and a row y of `second` [M, D],
    each scaled to unit length, with k(x, y) = exp(-|x - y|^2 / (2 sigma^2)); float64. If both are the same
    set, pairs of a row with itself are included. None except on the first process. Besides the two sets, a
    process holds one tile of distances."""
    x, y = first.to(device), second.to(device)

    def work(places: range) -> Tensor:
        rows = _unit(x[places.start : places.stop])
        total = rows.new_zeros(())
        for start in range(0, len(y), COLUMNS):
            # |x - y|^2 = 2 - 2 x.y. Every k is near 1; subtracting 1 keeps the difference of means precise.
            products = rows @ _unit(y[start : start + COLUMNS]).T
            total += products.sub_(1).div_(SIGMA**2).expm1_().sum()
        return total.cpu()

    sums = list(in_order(blocks(len(x), ROWS), work, peers))
    if not sums:
        return None
    mean: Tensor = sum(sums[1:], sums[0]) / (len(x) * len(y))
    return mean


def _unit(rows: Tensor) -> Tensor:
    exact = rows.double()
    unit: Tensor = exact / exact.norm(dim=1, keepdim=True).clamp_min(1e-12)
    return unit


@dataclass(frozen=True)
class AmongReals(Fact):
    """`kernel`, the mean kernel over all pairs of reals."""

    view: Features
    kind, shared = "cmmd", True

    @property
    def facts(self) -> tuple[Fact, ...]:
        """See `Fact`."""
        return (KnownFeatures(self.view),)

    def key(self, extractors: Mapping[str, Extractor]) -> Mapping[str, Any]:
        """See `Fact`."""
        return {**KnownFeatures(self.view).key(extractors), "sigma": SIGMA}

    def make(self, reals: Reals) -> Tensors:
        """See `Fact`."""
        first = reals.peers.rank == 0
        rows = reals.peers.from_first(reals.fact(KnownFeatures(self.view))["features"] if first else None)
        assert rows is not None, "gathered or recalled before"
        kernel = mean_kernel(rows, rows, reals.peers, reals.device)
        return {} if kernel is None else {"kernel": kernel}


class ClipDiscrepancy(FeatureMetric):
    """CMMD as the authors' code computes it: 1000 times MMD^2, in the biased estimate that includes pairs of
    an image with itself (Gretton et al. 2012, eq. 5)."""

    name, title = "cmmd", "maximum mean discrepancy of CLIP's embeddings"
    shown = Shown("CMMD", reals=lambda _: "; the reals themselves: 0")
    extractor, weights = "clip-l14", "CLIP ViT-L/14@336"
    shared = True

    def needs(self, asked: Asked) -> Needs:
        """See `Metric`."""
        theirs = self.of_reals(asked)
        return Needs((Rows(self.of_fakes(asked)),), (KnownFeatures(theirs), AmongReals(theirs)))

    def figure(self, compared: Compared) -> Figures:
        """See `Metric`."""
        view, peers = self.of_reals(compared.asked), compared.peers
        gathered = None
        if peers.rank == 0:
            fakes = compared.fakes(Rows(self.of_fakes(compared.asked)))
            gathered = fakes, compared.fact(KnownFeatures(view))["features"]
        both = peers.from_first(gathered)
        assert both is not None, "the first process has what was gathered"
        among = mean_kernel(both[0], both[0], peers, compared.device)
        between = mean_kernel(*both, peers, compared.device)
        if among is None or between is None:
            return {}
        squared = among + compared.fact(AmongReals(view))["kernel"] - 2 * between
        return {"value": SCALE * float(squared), "sigma": SIGMA, "reals": view.images}
