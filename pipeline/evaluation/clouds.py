"""Point clouds of images for TensorBoard's projector: reals among fakes, and fakes by their w."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from pipeline.board.events import EVALUATION
from pipeline.board.projector import Embedding, publish_points, shown_points
from pipeline.contracts import Sampler
from pipeline.data.shards.index import ShardIndex
from pipeline.data.streaming.numbered import UnflippedReader
from pipeline.evaluation.features.extractor import Extractor, as_rgb
from pipeline.images.pictures import to_uint8
from pipeline.latents import StyledSpace
from pipeline.storage.snapshots import Snapshot, list_snapshots

MOST = 200
"""The largest number of fakes, and of reals, in a cloud."""

_SHARE = 8  # the clouds take at most 1/8 as many images as the metrics
_PIXELS = 16  # side of the reduced images that stand in for features without an extractor
_AT_ONCE = 8


def wants_clouds(run: Path, snapshot: Snapshot) -> bool:
    """Whether `snapshot` is the run's newest and its clouds are not shown yet."""
    newest = list_snapshots(run)[-1:] == [run / "snapshots" / snapshot.folder.name]
    return newest and shown_points(run / EVALUATION) != snapshot.digest


def show_clouds(
    run: Path,
    snapshot: Snapshot,
    make_sampler: Callable[[], Sampler],
    index: ShardIndex,
    extractor: Extractor | None,
    images: int,
) -> None:
    """Draws fakes and publishes the clouds. `images` is how many fakes the metrics took.

    The points are the extractor's features, or reduced images if no metric needed an extractor. Families with
    a w get a second cloud, of the fakes' w.
    """
    count = min(MOST, images // _SHARE, index.count)
    if count < 2:
        return
    fakes, labels, codes = _draw(make_sampler(), count)
    with UnflippedReader(index) as reader:
        reals, classes, keys = reader.read(range(count))
    seeds = [str(seed) for seed in range(count)]
    both = torch.cat([fakes, reals])
    columns = {
        "image": [*(f"seed {seed}" for seed in seeds), *keys],
        "kind": ["fake"] * count + ["real"] * count,
        "class": [*_names(labels, snapshot.classes, count), *_names(classes, index.classes, count)],
    }
    name = "pixels" if extractor is None else f"features-{extractor.name.replace('/', '-')}"
    spaces = {name: Embedding(_features(both, extractor), both, columns)}
    if codes is not None:
        spaces["w"] = Embedding(codes, fakes, {"seed": seeds, "class": columns["class"][:count]})
    publish_points(run / EVALUATION, spaces, snapshot.digest)


def _draw(sampler: Sampler, count: int) -> tuple[Tensor, list[int] | None, Tensor | None]:
    """Images [count, C, H, W] uint8 of the seeds 0, 1, ..., their classes or None, and their w [count, D] or
    None."""
    images, labels, codes = [], [], []
    with torch.inference_mode():
        for first in range(0, count, _AT_ONCE):
            fakes = sampler.draw(range(first, min(first + _AT_ONCE, count)))
            images.append(to_uint8(fakes.images).cpu())
            labels += [] if fakes.labels is None else fakes.labels.tolist()
            codes.append(fakes.latents[:, 0].cpu() if isinstance(sampler, StyledSpace) else None)
    w = [code for code in codes if code is not None]
    return torch.cat(images), labels or None, torch.cat(w) if w else None


def _features(images: Tensor, extractor: Extractor | None) -> Tensor:
    """The features [N, D] of uint8 images [N, C, H, W]."""
    if extractor is None:
        side = min(_PIXELS, images.shape[-1])
        small = torch.nn.functional.interpolate(images.float() / 255, (side, side), mode="area")
        return small.flatten(1)
    parts = [images[first : first + _AT_ONCE] for first in range(0, len(images), _AT_ONCE)]
    return torch.cat([extractor(as_rgb(part))[0] for part in parts])


def _names(numbers: list[int] | None, names: tuple[str, ...], count: int) -> list[str]:
    if numbers is None:
        return ["-"] * count
    return [names[number] if names else str(number) for number in numbers]
