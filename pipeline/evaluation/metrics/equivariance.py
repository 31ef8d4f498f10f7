"""EQ-T, EQ-T-frac and EQ-R: how exactly images move when their input is moved (Karras et al. 2021, section 2
and appendix E)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.evaluation.metrics.metric import Figures, Metric, Shown

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.contracts import Sampler
    from pipeline.evaluation.arithmetic.equivariance import Motion
    from pipeline.evaluation.compared import Compared
    from pipeline.evaluation.settings import Settings

_LEAST_SIDE = 16  # below it some turns leave no pixel to compare


class Equivariance(Metric):
    """The peak signal-to-noise ratio between images that were moved and images whose input was moved. Those
    that are asked for together share the images that were not."""

    generator = shared = True

    def __init__(self, name: str, head: str, motion: Motion, title: str) -> None:
        self.name, self.title, self.motion = name, title, motion
        self.shown = Shown(head, "dB", better="higher is better")

    @property
    def wants(self) -> str:
        """See `Metric`."""
        return "a generator whose input can be moved"

    def least_side(self, settings: Settings) -> int:
        """See `Metric`."""
        return _LEAST_SIDE

    def refusal(self, sampler: Sampler) -> str:
        """See `Metric`."""
        from pipeline.latents import MovableSpace

        movable = isinstance(sampler, MovableSpace)
        return "" if movable else "this family's generators have no input that can be moved"

    def figure(self, compared: Compared) -> Figures:
        """See `Metric`."""
        from pipeline.evaluation.arithmetic.equivariance import decibels

        asked = compared.asked.settings.metrics
        motions = tuple(metric.motion for metric in EQUIVARIANCE if metric.name in asked)
        errors = compared.once("equivariance", lambda: self._errors(compared, motions))
        return {} if errors is None else {"value": decibels(errors[:, motions.index(self.motion)])}

    def _errors(self, compared: Compared, motions: tuple[Motion, ...]) -> Tensor | None:
        """`Moved.errors` of all fakes, on the first process; None on the others."""
        import torch
        from tqdm import tqdm

        from pipeline.evaluation.arithmetic.equivariance import Moved
        from pipeline.evaluation.fakes import classes_of, shifted
        from pipeline.evaluation.peers import blocks, in_order
        from pipeline.latents import MovableSpace

        walk, settings = compared.walkable, compared.asked.settings
        assert walk is not None, "data sets are refused before"
        assert isinstance(walk.sampler, MovableSpace), "others are refused before"
        moved = Moved(walk.sampler, motions)

        def work(places: range) -> Tensor:
            some = shifted(places, walk.origin)
            return moved.errors(some, classes_of(some, walk.labels))

        parts = blocks(self.count(compared.asked), settings.block)
        off = None if compared.peers.rank == 0 else True
        rows = list(
            tqdm(in_order(parts, work, compared.peers), "equivariance", len(parts), unit="block", disable=off)
        )
        return torch.cat(rows) if rows else None


EQUIVARIANCE = (
    Equivariance("eqt", "EQ-T", "whole", "equivariance to shifts by whole pixels"),
    Equivariance("eqt_frac", "EQ-T-frac", "fraction", "equivariance to shifts by parts of a pixel"),
    Equivariance("eqr", "EQ-R", "turn", "equivariance to rotation"),
)
