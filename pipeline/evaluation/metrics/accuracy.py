"""How often a model is right about the class of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.evaluation.metrics.metric import Figures, Metric, Shown

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.evaluation.compared import Compared
    from pipeline.evaluation.settings import Asked


class Accuracy(Metric):
    """The share of the reals whose class the model tells rightly: all of them, unless told how many. Nothing
    is drawn."""

    name, title = "accuracy", "share of the reals whose class the model tells rightly"
    shown = Shown("accuracy", better="higher is better")
    labels, classifies, shared = True, True, True

    def count(self, asked: Asked) -> int:
        """See `Metric`."""
        return min(asked.settings.count or asked.stored or asked.reals, asked.reals)

    def figure(self, compared: Compared) -> Figures:
        """See `Metric`. `classes`: the share within each class, and how many images it has."""
        import torch

        from pipeline.contracts import Classifier
        from pipeline.evaluation.peers import blocks, in_order
        from pipeline.images.pictures import from_uint8

        walk, originals = compared.walkable, compared.originals
        assert walk is not None
        assert originals is not None
        sampler, labels = walk.sampler, walk.labels
        assert isinstance(sampler, Classifier), "others are refused before"
        assert labels is not None

        def work(places: range) -> Tensor:
            told = sampler.classify(from_uint8(originals(places)).to(compared.device)).argmax(dim=1)
            return told.cpu() == torch.tensor(labels[places.start : places.stop])

        parts = blocks(self.count(compared.asked), compared.asked.settings.block)
        found = list(in_order(parts, work, compared.peers))
        if not found:
            return {}
        hits = torch.cat(found).double()
        wanted = torch.tensor(labels[: len(hits)])
        classes = {
            name: {"value": float(hits[wanted == number].mean()), "count": int((wanted == number).sum())}
            for number, name in enumerate(compared.class_names)
            if (wanted == number).any()
        }
        return {"value": float(hits.mean()), "classes": classes}
