"""What a model has measured of its own convergence while it was trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.evaluation.metrics.metric import Figures, Metric, Shown

if TYPE_CHECKING:
    from pipeline.contracts import Sampler
    from pipeline.evaluation.compared import Compared
    from pipeline.evaluation.settings import Asked


class Convergence(Metric):
    """The measure that a snapshot brings along, such as BEGAN's (Berthelot et al. 2017, section 3.4.1). No
    image is drawn for it."""

    name, title = "convergence", "measure of convergence"
    shown = Shown("convergence")
    generator = True

    def count(self, asked: Asked) -> int:
        """See `Metric`."""
        return 0

    def refusal(self, sampler: Sampler) -> str:
        """See `Metric`."""
        from pipeline.contracts import Converging

        known = isinstance(sampler, Converging)
        return "" if known else "this family measures no convergence of its own; leave it out"

    def figure(self, compared: Compared) -> Figures:
        """See `Metric`."""
        from pipeline.contracts import Converging

        walk = compared.walkable
        assert walk is not None, "data sets are refused before"
        assert isinstance(walk.sampler, Converging), "others are refused before"
        value = walk.sampler.convergence
        return {} if value is None else {"value": value}
