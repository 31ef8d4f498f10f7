"""Whether images show the class that the generator was asked for, as judged by a classifier trained on the
reals: the GAN-test of Shmelkov et al. 2018, section 3.2, with a small classifier of our own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.evaluation.metrics.metric import Figures, Metric, Shown
from pipeline.evaluation.metrics.needs import Fact, Look, Needs, Reals, Rows, Statistic, Tensors

if TYPE_CHECKING:
    from pipeline.contracts import ImageSpec
    from pipeline.evaluation.compared import Compared
    from pipeline.evaluation.features.extractor import Extractor
    from pipeline.evaluation.settings import Asked

_WEIGHTS = "weights."
LEARNT = 50_000
"""The largest number of reals that the classifier is trained and tested on."""


@dataclass(frozen=True)
class Small:
    """What the classifier sees: [n, 3, 32, 32] uint8."""

    images: int

    def opened(self, spec: ImageSpec) -> Look:
        """See `View`."""
        from pipeline.evaluation.arithmetic.classifier import made_small

        return lambda block: [made_small(block.up_to(self.images))]


@dataclass(frozen=True)
class Classifier(Fact):
    """The classifier's weights (`weights.*`), its accuracy on the reals held out from training (`held_out`),
    and how many were held out (`held`)."""

    view: Small
    kind = "classifier"

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        """See `Fact`."""
        return (Rows(self.view),)

    def key(self, extractors: Mapping[str, Extractor]) -> Mapping[str, Any]:
        """See `Fact`."""
        return {"count": self.view.images, **_recipe()}

    def make(self, reals: Reals) -> Tensors:
        """See `Fact`."""
        import torch

        from pipeline.evaluation.arithmetic.classifier import learn

        images = reals.gathered(Rows(self.view))
        labels = torch.tensor(reals.labels_here()[: len(images)])
        state, accuracy = learn(images, labels, len(reals.class_names))
        return {
            **{f"{_WEIGHTS}{name}": value for name, value in state.items()},
            "held_out": torch.tensor(accuracy, dtype=torch.float64),
            "held": torch.tensor(len(images) // 10),
        }


def _recipe() -> dict[str, Any]:
    from pipeline.evaluation.arithmetic.classifier import RECIPE

    return {"classifier": RECIPE}


def _reals(figures: Mapping[str, Any]) -> str:
    if "reals" not in figures:
        return ""
    reals = figures["reals"]
    return f"; reals that the classifier did not learn: {reals['value']:.4g} (of {reals.get('count')})"


class ClassAccuracy(Metric):
    """The share of fakes in which the classifier sees the class they were generated for."""

    name, title = "class_accuracy", "share of images in which a classifier sees the asked-for class"
    shown = Shown("class accuracy", better="higher is better", reals=_reals)
    standard = 10_000  # its standard error is below .005
    labels = True
    moved_by = ("classifier",)

    def needs(self, asked: Asked) -> Needs:
        """See `Metric`."""
        return Needs((self._of_fakes(asked),), (self._classifier(asked),))

    def identity(self, asked: Asked, extractors: Mapping[str, Extractor]) -> Figures:
        """See `Metric`."""
        return _recipe()

    def figure(self, compared: Compared) -> Figures:
        """See `Metric`."""
        import torch

        from pipeline.evaluation.arithmetic.classifier import predict

        known, names = compared.fact(self._classifier(compared.asked)), compared.class_names
        state = {name.removeprefix(_WEIGHTS): known[name] for name in known if name.startswith(_WEIGHTS)}
        images = compared.fakes(self._of_fakes(compared.asked))
        wanted = torch.tensor(compared.fake_classes(len(images)))
        hits = (predict(state, images, len(names)) == wanted).double()
        classes = {
            name: {"value": float(hits[wanted == number].mean()), "count": int((wanted == number).sum())}
            for number, name in enumerate(names)
            if (wanted == number).any()
        }
        reals = {"value": float(known["held_out"]), "count": int(known["held"])}
        return {"value": float(hits.mean()), "classes": classes, "reals": reals}

    def _of_fakes(self, asked: Asked) -> Rows:
        return Rows(Small(self.count(asked)))

    def _classifier(self, asked: Asked) -> Classifier:
        return Classifier(Small(min(asked.reals, LEARNT)))
