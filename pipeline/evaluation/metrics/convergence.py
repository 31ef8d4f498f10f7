"""What a model has measured of its own convergence while it was trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.errors import UserError
from pipeline.evaluation.metrics.metric import Figures, Metric, Shown

if TYPE_CHECKING:
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

    def figure(self, compared: Compared) -> Figures:
        """See `Metric`."""
        from pipeline.contracts import Converging

        walk = compared.walkable
        assert walk is not None, "data sets are refused before"
        if not isinstance(walk.sampler, Converging):
            raise UserError(
                f"--metrics {self.name}: this family measures no convergence of its own; leave it out"
            )
        value = walk.sampler.convergence
        return {} if value is None else {"value": value}
