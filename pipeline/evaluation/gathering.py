"""One pass over a set of images by all processes. What they observe arrives at the first process in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from tqdm import tqdm

from pipeline.contracts import ImageSpec
from pipeline.evaluation.features.extractor import Extractor
from pipeline.evaluation.metrics.needs import Statistic, images_of
from pipeline.evaluation.peers import Peers, blocks, in_order
from pipeline.evaluation.settings import Settings
from pipeline.evaluation.statistics import Observer, Seen, Statistics


def gather(
    statistics: Sequence[Statistic[Any]],
    spec: ImageSpec,
    extractors: Mapping[str, Extractor],
    settings: Settings,
    images: Callable[[range], Tensor],
    peers: Peers,
    title: str,
    originals: Callable[[range], Tensor] | None = None,
) -> Statistics | None:
    """The `statistics` of a set on the first process; None on the others.

    `images` returns the uint8 images [n, C, H, W] at a range of places in the set. `title` labels the
    progress bar. `originals` returns the reals that they reconstruct, if they do.
    """
    observer = Observer(statistics, spec, extractors, settings.device)

    def look(places: range) -> Seen:
        return observer.look(images(places), places.start, None if originals is None else originals(places))

    count = images_of(statistics)
    parts = blocks(count, settings.block)
    if peers.rank != 0:
        for _ in in_order(parts, look, peers):
            raise AssertionError("only the first process is given anything")
        return None
    gathered = Statistics(statistics, spec)
    with tqdm(total=count, desc=title, unit="img", disable=None) as bar:
        for part, seen in zip(parts, in_order(parts, look, peers), strict=True):
            gathered.add(seen)
            bar.update(len(part))
    return gathered
