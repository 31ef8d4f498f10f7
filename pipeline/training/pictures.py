"""The pictures of every snapshot: a grid of samples, a strip that leads from one sample to another, and some
of the data's images beside their reconstructions, if the model encodes images."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pipeline.config.run import RunConfig
from pipeline.contracts import Batch, Process, Reconstructor, Sampler, Translator, TwoWay
from pipeline.data.shards.index import ShardIndex
from pipeline.data.streaming.stream import ImageStream
from pipeline.latents import LatentSpace, slerp

STRIP = 7
"""The number of images in a strip."""

_AT_ONCE = 8  # images drawn together, to bound memory at 1024px


def grid_columns(count: int, classes: int = 0) -> int:
    """Returns the columns of a grid of `count` images: one per class for up to 32 classes, otherwise so many
    that the grid is about twice as wide as high."""
    return classes if 0 < classes <= 32 else math.ceil(math.sqrt(2 * count))


def draw_grid(sampler: Sampler, count: int, classes: int) -> Tensor:
    """Draws `count` samples [count, C, H, W] from the fixed seeds 0, 1, ..., taking the classes in turn."""
    parts = []
    with torch.no_grad():
        for first in range(0, count, _AT_ONCE):
            seeds = range(first, min(first + _AT_ONCE, count))
            labels = [seed % classes for seed in seeds] if classes else None
            parts.append(sampler.draw(seeds, classes=labels).images.float().cpu())
    return torch.cat(parts)


def draw_strip(sampler: Sampler, count: int) -> Tensor | None:
    """Draws `count` images [count, C, H, W] from seed 0 to seed 1, along the great circle between their z.

    All are of class 0 if there are classes. Returns None for a sampler that does not offer its latents.
    """
    if not isinstance(sampler, LatentSpace):
        return None
    with torch.no_grad():
        z, labels = sampler.latents((0, 1), classes=(0, 0) if sampler.classes else None)
        at = torch.linspace(0, 1, count, device=z.device)
        between = slerp(z[:1].expand(count, -1), z[1:].expand(count, -1), at)
        parts = []
        for first in range(0, count, _AT_ONCE):
            some = slice(first, min(first + _AT_ONCE, count))
            known = None if labels is None else labels[:1].expand(some.stop - some.start)
            parts.append(sampler.synthesise(sampler.map(between[some], known)).float().cpu())
    return torch.cat(parts)


def originals(index: ShardIndex, config: RunConfig, count: int) -> Tensor:
    """Returns the first images [count, C, H, W] in the order in which the run sees them."""
    data = config.data.model_copy(update={"workers": 0})
    with ImageStream(index, data, seed=config.seed, process=Process(), images_seen=0, labels=False) as stream:
        (reals,) = stream.draw(count)
    return reals.images


def draw_pairs(sampler: Reconstructor, images: Tensor) -> Tensor:
    """Returns each image followed by its reconstruction, [2 N, C, H, W]."""
    parts = [
        torch.stack([some, sampler.reconstruct(some).float()], dim=1).flatten(0, 1).cpu()
        for some in torch.split(images, _AT_ONCE)
    ]
    return torch.cat(parts)


def draw_translations(sampler: Translator, given: Batch) -> Tensor:
    """Returns what each image is made of, the image, and the one that was to be made, [3 N, C, H, W]; of a
    model that translates in both directions, in the place of the last one, what it makes of the image in the
    other."""
    parts = []
    for first in range(0, len(given), _AT_ONCE):
        seeds = range(first, min(first + _AT_ONCE, len(given)))
        some = given.map(lambda x, seeds=seeds: x[seeds.start : seeds.stop])  # type: ignore[misc]
        made = sampler.draw_given(some, seeds).images.float()
        last = sampler.back().translate(made, seeds) if isinstance(sampler, TwoWay) else some.images
        rows = [image.float().cpu() for image in (sampler.shown(some, seeds), made, last)]
        parts.append(torch.stack(rows, dim=1).flatten(0, 1))
    return torch.cat(parts)
