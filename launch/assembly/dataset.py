"""The data set of a run: opened and checked, and streamed in its order."""

from __future__ import annotations

from pipeline.config.run import RunConfig
from pipeline.contracts import Family, ImageSpec, Process
from pipeline.data.shards.index import ShardIndex
from pipeline.data.streaming.stream import ImageStream
from pipeline.engines.process import from_all
from pipeline.errors import UserError


def open_data(config: RunConfig, *, look: bool = True) -> ShardIndex:
    """The shards that the config names, checked against what it expects of them. look: at each of them."""
    if config.data.path is None:
        raise UserError(
            "data.path: not set; allowed: a folder of shards (data.path=FOLDER, made by hrgan prepare)"
        )
    index = ShardIndex.read(config.data.path, damaged=config.data.on_damage if look else "skip")
    wanted = config.data.resolution
    if wanted is not None and (index.height, index.width) != (wanted, wanted):
        raise UserError(
            f"data.resolution: the config expects {wanted}px, {index.root} holds "
            f"{index.height}x{index.width}; allowed: prepare the data at that resolution, "
            "or data.resolution=null to take theirs"
        )
    if config.data.labels and not index.classes:
        raise UserError(
            f"data.labels=true: {index.root} has no labels; allowed: false, or prepare with labels"
        )
    return index


def look_at_shards(config: RunConfig, index: ShardIndex, process: Process) -> None:
    """What `open_data` does with `look`, by one process of each machine, which tells the others: thousands
    would ask the file system for the sizes of as many shards each."""
    fault = None
    if process.local_rank == 0 and config.data.on_damage == "error":
        try:
            index.check_sizes()
        except UserError as error:
            fault = str(error)
    for found in from_all(fault, process):
        if found is not None:
            raise UserError(found)


def trained_spec(config: RunConfig, index: ShardIndex) -> ImageSpec:
    """The data's shape as the networks see it: without classes if training is unconditional."""
    labelled = index.spec.classes if config.data.labels is not False else 0
    return ImageSpec(index.height, index.width, index.channels, labelled)


def stream_of(
    config: RunConfig, index: ShardIndex, family: Family, process: Process, images_seen: int = 0
) -> ImageStream:
    """This process's part of the images from `images_seen` on; labelled if the family has classes."""
    return ImageStream(
        index,
        config.data,
        seed=config.seed,
        process=process,
        images_seen=images_seen,
        labels=bool(family.spec.classes),
    )
