"""How well a model that encodes images gives them back: errors of each image, and distances between the reals
and their reconstructions, as publications about autoencoders quote them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.evaluation.metrics.fid import FrechetDistance
from pipeline.evaluation.metrics.metric import Figures, Metric, Shown
from pipeline.evaluation.metrics.needs import Block, Look, Needs, Rows
from pipeline.evaluation.metrics.swd import SlicedWasserstein

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pipeline.contracts import ImageSpec
    from pipeline.evaluation.compared import Compared
    from pipeline.evaluation.features.extractor import Extractor
    from pipeline.evaluation.features.weights import PerceptualWeights
    from pipeline.evaluation.settings import Asked, Settings

_ROUNDING = 1 / 12
"""The mean square of what rounding to whole numbers adds: no error is taken to be less."""


class Reconstructing(Metric):
    """A metric of reconstructions: there are never more of them than reals."""

    reconstructs, whole = True, False

    def count(self, asked: Asked) -> int:
        """See `Metric`."""
        return min(super().count(asked), asked.reals)


@dataclass(frozen=True)
class Errors:
    """The mean squared error of each reconstruction, [n] float64, in units of 1/255 of the range."""

    images: int

    def opened(self, spec: ImageSpec) -> Look:
        """See `View`."""
        return self._look

    def _look(self, block: Block) -> Sequence[Tensor]:
        ours, theirs = (pictures.double() for pictures in block.pairs_up_to(self.images))
        return [(ours - theirs).square().flatten(1).mean(dim=1).cpu()]


class PeakSignal(Reconstructing):
    """The mean over images of 10 log10(255^2 / mean squared error), in decibels."""

    name, title = "psnr", "peak signal-to-noise ratio of reconstructions"
    shown = Shown("PSNR", better="higher is better")

    def needs(self, asked: Asked) -> Needs:
        """See `Metric`."""
        return Needs((Rows(Errors(self.count(asked))),))

    def figure(self, compared: Compared) -> Figures:
        """See `Metric`."""
        errors = compared.fakes(Rows(Errors(self.count(compared.asked)))).clamp(min=_ROUNDING)
        return {"value": float((10 * (255**2 / errors).log10()).mean())}


@dataclass(frozen=True)
class Looks:
    """LPIPS between each reconstruction and its real, [n] float32."""

    images: int
    weights: PerceptualWeights
    device: torch.device

    def opened(self, spec: ImageSpec) -> Look:
        """See `View`."""
        from pipeline.evaluation.features.lpips import Perceptual

        perceptual = Perceptual(self.weights, self.device)

        def look(block: Block) -> Sequence[Tensor]:
            ours, theirs = (pictures.float() for pictures in block.pairs_up_to(self.images))
            return [perceptual(ours, theirs).cpu()]

        return look


class PerceivedError(Reconstructing):
    """The mean over images of LPIPS (Zhang et al. 2018) between reconstruction and real."""

    name, title = "rlpips", "LPIPS of reconstructions"
    shown = Shown("rLPIPS")
    weights = "VGG16 and LPIPS"
    moved_by = ("perceptual",)

    def least_side(self, settings: Settings) -> int:
        """See `Metric`."""
        from pipeline.perceptual import LEAST_SIDE

        return LEAST_SIDE

    def needs(self, asked: Asked) -> Needs:
        """See `Metric`."""
        return Needs((self._looks(asked),))

    def identity(self, asked: Asked, extractors: Mapping[str, Extractor]) -> Figures:
        """See `Metric`."""
        from pipeline.evaluation.features.lpips import perceptual_digest

        return {"perceptual": perceptual_digest(asked.settings.paths.weights)}

    def figure(self, compared: Compared) -> Figures:
        """See `Metric`."""
        return {"value": float(compared.fakes(self._looks(compared.asked)).double().mean())}

    def readers(self, settings: Settings) -> tuple[Callable[[], object], ...]:
        """See `Metric`."""
        return settings.paths.weights.read_vgg, settings.paths.weights.read_lpips

    def _looks(self, asked: Asked) -> Rows:
        return Rows(Looks(self.count(asked), asked.settings.paths.weights, asked.settings.device))


class ReconstructedFrechet(Reconstructing, FrechetDistance):
    """The Frechet distance between the reals and their reconstructions."""

    name, title = "rfid", "Frechet distance of reconstructions"
    shown = Shown("rFID")
    by_class = False


class ReconstructedWasserstein(Reconstructing, SlicedWasserstein):
    """The sliced Wasserstein distance between the reals and their reconstructions."""

    name, title = "rswd", "sliced Wasserstein distance of reconstructions"
    shown = Shown("rSWD", "x1000", reals=SlicedWasserstein.shown.reals)
