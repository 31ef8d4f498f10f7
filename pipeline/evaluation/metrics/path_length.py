"""Perceptual path length in z or w (Karras et al. 2019, section 4.1): how much images change over short steps
in latent space."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from pipeline.evaluation.metrics.metric import Figures, Metric, Shown

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.contracts import Sampler
    from pipeline.evaluation.arithmetic.paths import Space
    from pipeline.evaluation.compared import Compared
    from pipeline.evaluation.features.extractor import Extractor
    from pipeline.evaluation.features.lpips import Perceptual
    from pipeline.evaluation.settings import Asked, Settings

_LEAST_SIDE = 16


class PathLength(Metric):
    """The path length in the space `which`."""

    weights = "VGG16 and LPIPS"
    generator = shared = True
    moved_by = ("sampling", "crop", "perceptual")

    def __init__(self, which: Space) -> None:
        self._which = which
        self.name, self.title = f"ppl-{which}", f"perceptual path length in {which}"
        self.shown = Shown(f"PPL {which}")

    def least_side(self, settings: Settings) -> int:
        """See `Metric`."""
        return 2 * _LEAST_SIDE if settings.paths.crop else _LEAST_SIDE

    def identity(self, asked: Asked, extractors: Mapping[str, Extractor]) -> Figures:
        """See `Metric`."""
        from pipeline.evaluation.features.lpips import perceptual_digest

        paths = asked.settings.paths
        return {
            "sampling": paths.sampling,
            "crop": paths.crop,
            "perceptual": perceptual_digest(paths.weights),
        }

    def refusal(self, sampler: Sampler) -> str:
        """See `Metric`."""
        from pipeline.latents import LatentSpace, StyledSpace

        if isinstance(sampler, StyledSpace if self._which == "w" else LatentSpace):
            return ""
        allowed = f"; allowed: {PathLength('z').name}" if isinstance(sampler, LatentSpace) else ""
        return f"this family has no space {self._which} to walk in{allowed}"

    def figure(self, compared: Compared) -> Figures:
        """See `Metric`."""
        import torch
        from tqdm import tqdm

        from pipeline.evaluation.arithmetic.paths import Steps, path_length
        from pipeline.evaluation.fakes import classes_of, shifted
        from pipeline.evaluation.peers import blocks, in_order
        from pipeline.latents import LatentSpace

        walk, settings = compared.walkable, compared.asked.settings
        assert walk is not None, "data sets are refused before"
        assert isinstance(walk.sampler, LatentSpace), "others are refused before"
        perceptual = compared.once_a_job("perceptual", lambda: _perceptual(compared))
        paths = settings.paths
        steps = Steps(walk.sampler, self._which, paths.sampling, paths.crop, perceptual)

        def work(places: range) -> Tensor:
            some = shifted(places, walk.origin)
            return steps.lengths(some, classes_of(some, walk.labels))

        parts = blocks(self.count(compared.asked), settings.block)
        off = None if compared.peers.rank == 0 else True
        lengths = in_order(parts, work, compared.peers)
        measured = list(tqdm(lengths, self.name, len(parts), unit="block", disable=off))
        return path_length(torch.cat(measured)) if measured else {}

    def readers(self, settings: Settings) -> tuple[Callable[[], object], ...]:
        """See `Metric`."""
        return settings.paths.weights.read_vgg, settings.paths.weights.read_lpips


def _perceptual(compared: Compared) -> Perceptual:
    from pipeline.evaluation.features.lpips import Perceptual

    return Perceptual(compared.asked.settings.paths.weights, compared.device)
