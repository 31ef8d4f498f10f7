"""Fakes drawn from seeds, with classes as frequent as in the data."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.contracts import Conditional, Reconstructor, Sampler
from pipeline.images.pictures import from_uint8, to_uint8
from pipeline.randomness import derive_seed

Images = Callable[[range], Tensor]
"""Returns the uint8 images [N, C, H, W] at a range of places in a set."""


def draw_fakes(sampler: Sampler, seeds: range, labels: list[int] | None = None) -> Tensor:
    """The fakes of `seeds`, uint8 [N, C, H, W], without truncation. `labels` are those of the reals, see
    `classes_of`."""
    with torch.inference_mode():
        return to_uint8(sampler.draw(seeds, classes=classes_of(seeds, labels)).images)


def reconstructs(sampler: Sampler) -> bool:
    """Whether each of its images can be compared with a real: the one that it encoded, or the one that it was
    to make of what that sample gives."""
    return isinstance(sampler, Reconstructor | Conditional)


def reconstructions(sampler: Sampler, originals: Images, places: range, device: torch.device) -> Tensor:
    """What `sampler`, which `reconstructs`, makes of the reals at these places, in their form."""
    with torch.inference_mode():
        if isinstance(sampler, Conditional):
            return to_uint8(sampler.draw(places).images)
        assert isinstance(sampler, Reconstructor), "others are refused before"
        return to_uint8(sampler.reconstruct(from_uint8(originals(places).to(device))))


def classes_of(seeds: range, labels: list[int] | None) -> list[int] | None:
    """The class of each fake: that of a real picked by the fake's seed, so that classes are as frequent as in
    the data. None without labels; a conditional model then draws the class from the seed."""
    if labels is None:
        return None
    return [labels[derive_seed("evaluation-class", seed) % len(labels)] for seed in seeds]


def shifted(places: range, origin: int) -> range:
    """The seeds of `places` in the set whose first seed is `origin`."""
    return range(places.start + origin, places.stop + origin)
