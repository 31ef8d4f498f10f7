"""How likely a model finds the reals: exactly, or at least."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pipeline.evaluation.metrics.metric import Figures, Metric, Shown

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.contracts import Evidential, Sampler
    from pipeline.evaluation.compared import Compared
    from pipeline.evaluation.settings import Asked

_VALUES = 256  # of a number of an image, as stored


class Likely(Metric):
    """A metric of what a model says of the reals, given their classes if it knows any; nothing is drawn."""

    rates, whole, shared = True, False, True

    def count(self, asked: Asked) -> int:
        """See `Metric`."""
        return min(super().count(asked), asked.reals)

    def _nats(self, compared: Compared) -> float | None:
        """Returns the mean of the reals' log-probabilities, or of their bounds, on the first process; None on
        the others."""
        count = self.count(compared.asked)
        return compared.once(("evidence", count), lambda: mean_evidence(compared, count))


class Evidence(Likely):
    """The mean log-probability of the reals, or its evidence lower bound (Kingma and Welling 2014, eq. 3), in
    nats an image."""

    name, title = "elbo", "evidence lower bound"
    shown = Shown("ELBO", "nats", better="higher is better")

    def figure(self, compared: Compared) -> Figures:
        """See `Metric`. `bits`: what encoding a number of an image with the model takes at most."""
        value = self._nats(compared)
        return {} if value is None else {"value": value, "bits": bits_per_dim(value, compared)}


class BitsPerDim(Likely):
    """What encoding a number of the reals with the model takes, in bits, or a bound of it: the negative mean
    of log-probabilities over the numbers of an image and ln 2 (van den Oord et al. 2016, section 5.1)."""

    name, title = "bits_per_dim", "bits per dimension"
    shown = Shown("bits/dim")

    def refusal(self, sampler: Sampler) -> str:
        """See `Metric`."""
        from pipeline.contracts import Evidential

        assert isinstance(sampler, Evidential), "others are refused before"
        if sampler.values == _VALUES:
            return ""
        return (
            f"this model is one of images of {sampler.values} values, not {_VALUES}; allowed: {Evidence.name}"
        )

    def figure(self, compared: Compared) -> Figures:
        """See `Metric`."""
        value = self._nats(compared)
        return {} if value is None else {"value": bits_per_dim(value, compared)}


def evidential(compared: Compared) -> Evidential:
    """Returns the sampler of the model that is measured."""
    from pipeline.contracts import Evidential

    walk = compared.walkable
    assert walk is not None
    assert isinstance(walk.sampler, Evidential), "others are refused before"
    return walk.sampler


def bits_per_dim(nats: float, compared: Compared) -> float:
    """Returns a mean log-probability of images, in nats, as bits for each of their numbers."""
    spec = compared.spec
    return -nats / (spec.channels * spec.height * spec.width * math.log(2))


def mean_evidence(compared: Compared, count: int) -> float | None:
    """Returns the mean of `Evidential.evidence` over the first `count` reals; every process works on it, and
    the first gets it."""
    import torch

    from pipeline.evaluation.fakes import shifted
    from pipeline.evaluation.peers import blocks, in_order
    from pipeline.images.pictures import from_uint8

    sampler, walk, originals = evidential(compared), compared.walkable, compared.originals
    assert walk is not None
    assert originals is not None

    def work(places: range) -> Tensor:
        images = from_uint8(originals(places)).to(compared.device)
        classes = None if walk.labels is None else walk.labels[places.start : places.stop]
        found = sampler.evidence(images, shifted(places, walk.origin), classes=classes)
        return found.double().cpu()

    parts = blocks(count, compared.asked.settings.block)
    measured = list(in_order(parts, work, compared.peers))
    return float(torch.cat(measured).mean()) if measured else None
