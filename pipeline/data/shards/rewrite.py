"""A shard written again without some of its samples."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.reader import ShardReader
from pipeline.data.shards.rows import Shard
from pipeline.data.shards.samples import keys
from pipeline.data.shards.sink import ShardWriter
from pipeline.errors import Damaged, UserError


def keep_samples(index: ShardIndex, name: str, wanted: Collection[str]) -> Shard:
    """Writes shard `name` of a data set again, with the samples of the `wanted` keys alone, in their order.

    index: says what images the folder holds; it need not list the shard. Calling it again changes nothing.
    Errors: UserError if the shard is damaged or lacks one of the keys.
    """
    path = index.folder / name
    try:
        present = keys(path, index.fields)
        missing = set(wanted).difference(present)
        if missing:
            raise Damaged(f"has no key {min(missing)}")
        listed = replace(index, shards=(Shard(name, len(present), path.stat().st_size, "0" * 64),))
        writer = ShardWriter(path)
        try:
            with ShardReader(listed) as reader:
                for member, key in enumerate(present):
                    if key in wanted:
                        sample = reader.read(0, member)
                        members = dict(sample.fields.values())
                        writer.add(key, sample.image, sample.extension, sample.label, sample.meta, members)
            return writer.publish()
        except BaseException:
            writer.abandon()
            raise
    except (Damaged, OSError) as error:
        raise UserError(
            f"{path}: cannot be written again: {error}; remove it and run the command again"
        ) from error
