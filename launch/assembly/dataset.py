"""The data sets that a run learns from: opened, checked against configuration and family, and read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from pipeline.config.run import DataConfig, RunConfig
from pipeline.contracts import SECOND, Family, Field, ImageSpec, Process
from pipeline.data.shards.index import ShardIndex
from pipeline.data.stores.place import Place, StoreSettings, place_of
from pipeline.data.streaming.ahead import warn_of_small_cache
from pipeline.data.streaming.second import TwoStreams
from pipeline.data.streaming.stream import ImageStream
from pipeline.engines.process import from_all
from pipeline.errors import UserError
from pipeline.randomness import derive_seed


@dataclass(frozen=True)
class Sets:
    """The shards of `data.path`, and those of `data.second` if it is set."""

    first: ShardIndex
    second: ShardIndex | None = None

    def __iter__(self) -> Iterator[ShardIndex]:
        yield self.first
        if self.second is not None:
            yield self.second

    def claim(self) -> dict[str, Any]:
        """What a run records about its data sets, to recognise them later."""
        first, *others = ({"digest": i.digest, "count": i.count, "path": str(i.root)} for i in self)
        return {**first, SECOND: others[0]} if others else first


def open_data(config: RunConfig, *, look: bool = True) -> Sets:
    """The shards that the configuration names, checked against its settings. With `look`, the files of the
    shards are checked too."""
    data = config.data
    if data.path is None:
        raise UserError(
            "data.path: not set; allowed: a folder of shards (data.path=FOLDER, made by hrgan prepare)"
        )
    damaged = data.on_damage if look else "skip"
    first = ShardIndex.read(_place(data.path, "data.path", data), damaged=damaged)
    wanted = data.resolution
    if wanted is not None and (first.height, first.width) != (wanted, wanted):
        raise UserError(
            f"data.resolution: the config expects {wanted}px, {first.root} holds "
            f"{first.height}x{first.width}; allowed: prepare the data at that resolution, "
            "or data.resolution=null to use that of the data"
        )
    if data.labels and not first.classes:
        raise UserError(
            f"data.labels=true: {first.root} has no labels; allowed: false, or prepare with labels"
        )
    if data.second is None:
        return Sets(first)
    second = ShardIndex.read(_place(data.second, "data.second", data), damaged=damaged)
    shapes = [(index.height, index.width, index.channels) for index in (first, second)]
    if shapes[0] != shapes[1]:
        shown = [f"{height}x{width} with {channels} channels" for height, width, channels in shapes]
        raise UserError(
            f"data.second: {second.root} holds images of {shown[1]}; allowed: {shown[0]}, as data.path has"
        )
    return Sets(first, second)


def _place(given: str, key: str, data: DataConfig) -> Place:
    settings = StoreSettings(
        data.cache, data.cache_gb, data.store_patience_seconds, data.store_silence_seconds
    )
    try:
        return place_of(given, settings)
    except UserError as error:
        raise UserError(f"{key}: {error}") from error


def look_at_shards(config: RunConfig, sets: Sets, process: Process) -> None:
    """The check of `open_data` with `look`, done by one process on each machine for all of them: otherwise
    thousands of processes would each ask the file system for the sizes of all shards."""
    fault = None
    if process.local_rank == 0 and config.data.on_damage == "error":
        try:
            for index in sets:
                index.check_sizes()
        except UserError as error:
            fault = str(error)
    for told in from_all(fault, process):
        if told is not None:
            raise UserError(told)


def trained_spec(config: RunConfig, sets: Sets) -> ImageSpec:
    """The format of the images as the networks see them: without classes if training is unconditional, and
    with the fields of the second data set as in `contracts.Batch.extra`."""
    classes = sets.first.spec.classes if config.data.labels is not False else 0
    fields = list(sets.first.fields)
    if sets.second is not None:
        fields += [replace(field, name=f"{SECOND}.{field.name}") for field in sets.second.fields]
        if sets.second.classes:
            fields.append(Field(f"{SECOND}.labels", "array", (), "int64"))
    return replace(sets.first.spec, classes=classes, fields=tuple(fields))


def check_needs(config: RunConfig, family: Family) -> None:
    """Raises UserError unless the data have what the family needs, there is a second data set only if the
    family uses one, and images are mirrored only if it allows that."""
    name, needs = config.family.name, family.needs
    if needs.second and config.data.second is None:
        raise UserError(
            f"data.second: not set, and family {name} learns from two sets; "
            "allowed: a folder of shards of images of the same size"
        )
    if not needs.second and config.data.second is not None:
        raise UserError(f"data.second={config.data.second}: family {name} learns from one set; allowed: null")
    if needs.upright and config.data.mirror:
        raise UserError(
            f"data.mirror=true: family {name} learns where things are, which is not mirrored with images; "
            "allowed: false"
        )
    there = [field.name for field in family.spec.fields]
    for field in needs.fields:
        if field not in there:
            key = SECOND if _of_second(field) else "path"
            raise UserError(
                f"data.{key}: {getattr(config.data, key)}: family {name} needs the field {field}, which its "
                f"samples lack; there are {', '.join(there) or 'none'}"
            )


def stream_of(
    config: RunConfig, sets: Sets, family: Family, process: Process, images_seen: int = 0
) -> ImageStream | TwoStreams:
    """This process's part of the images from `images_seen` on, with labels if the family has classes, and
    with the fields that it needs."""
    needs = family.needs.fields
    if process.is_first:
        for index in sets:
            warn_of_small_cache(index, config.data.lanes)
    first = ImageStream(
        sets.first,
        config.data,
        seed=config.seed,
        process=process,
        images_seen=images_seen,
        labels=bool(family.spec.classes),
        fields=[name for name in needs if not _of_second(name)],
    )
    if sets.second is None:
        return first
    asked = [name.removeprefix(f"{SECOND}.") for name in needs if _of_second(name)]
    second = ImageStream(
        sets.second,
        config.data,
        seed=derive_seed(config.seed, SECOND),
        process=process,
        images_seen=images_seen,
        labels="labels" in asked,
        fields=[name for name in asked if name != "labels"],
    )
    return TwoStreams(first, second)


def _of_second(field: str) -> bool:
    return field.startswith(f"{SECOND}.")
