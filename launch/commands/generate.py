"""`hrgan generate`: new images from a trained generator."""

from __future__ import annotations

from typing import Annotated

import typer

from launch.commands import image_options as option
from launch.commands.evaluate import (
    Device,
    ExtractorFile,
    InceptionDigest,
    InceptionFile,
    OtherDigest,
    VggFile,
)
from launch.commands.prepare_options import Format


def generate(
    source: option.Source,
    out: option.Out,
    count: option.Count,
    seed: option.Seed = 0,
    truncation: option.Truncation = "1",
    truncation_order: option.Order = option.TruncationOrder.sequence,
    classes: option.ClassWords = None,
    classes_like: option.ClassesLike = None,
    format: Annotated[Format, typer.Option(help="Format of the images inside the shards.")] = Format.png,
    quality: option.Quality = None,
    grid: option.Grid = False,
    columns: option.Columns = None,
    shard_size: option.ShardSize = 1000,
    batch: option.Batch = None,
    device: Annotated[Device, typer.Option(help="Where to compute.")] = Device.auto,
    deterministic: option.Deterministic = False,
    processes: option.Processes = 1,
    licence: option.Licence = None,
    filter: option.FilterWords = None,
    discriminator: option.DiscriminatorOf = None,
    reference: option.Reference = None,
    neighbours: option.Neighbours = False,
    most: option.Most = None,
    extractor: option.Comparison = "vgg16",
    inception_weights: InceptionFile = None,
    inception_digest: InceptionDigest = None,
    vgg_weights: VggFile = None,
    vgg_digest: OtherDigest = None,
    extractor_weights: ExtractorFile = None,
    extractor_digest: OtherDigest = None,
) -> int:
    """Make new images: shards, or one picture.

    Each image is a function of its own seed. The same command again goes on after a stop; any number of
    processes, on any machines that share OUT, make one data set together.

    \b
    Examples:
      hrgan generate out/quickstart/run out/quickstart/generated --count 1000
      hrgan generate runs/faces faces.png --count 64 --truncation 0.7
      hrgan generate runs/faces/snapshots/000025000000 more --count 50000 --seed 1000000 --format webp
      hrgan generate runs/faces faces --count 50000 --processes 8 --deterministic
      hrgan generate runs/faces best --count 5000 --filter discriminator:30% --filter duplicates:10
      hrgan generate runs/faces real --count 5000 --filter realism:1 --reference shards --neighbours
    """
    given = dict(locals())  # the options alone: nothing else has a name yet
    from launch.assembly.generating import Words, make_picture, make_shards

    words = Words.of(given)
    if words.grid:
        return make_picture(words, out, columns)
    return make_shards(words, out, shard_size, processes)
