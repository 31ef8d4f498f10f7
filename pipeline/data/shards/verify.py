"""The full check of a data set: every byte against the index, and, if they differ, the first bad key."""

from __future__ import annotations

from pipeline.data.shards.decode import decode_fields, decode_sample
from pipeline.data.shards.index import INDEX_NAME, ShardIndex, check_size
from pipeline.data.shards.levels import open_level
from pipeline.data.shards.reader import ShardReader
from pipeline.data.stores.place import Remote
from pipeline.errors import Damaged, UserError
from pipeline.storage.manifest import digest_file


def verify(index: ShardIndex) -> None:
    """Reads every byte of a data set and of its levels. Errors: UserError, which names the first shard (and
    key) that differs."""
    for number in range(len(index.shards)):
        verify_shard(index, number)
    for level in index.levels:
        verify(open_level(index, level))


def verify_shard(index: ShardIndex, number: int) -> None:
    """Reads every byte of a shard. Errors: UserError, which names it, and the first bad key if it can be
    told."""
    shard = index.shards[number]
    damage = first_damage(index, number)
    if damage is not None:
        raise UserError(f"{damage}; make the data set again or restore this shard")
    if isinstance(index.shards_root, Remote):
        return  # its bytes were compared when they were brought here
    check_size(index.shards_root, shard)
    digest = digest_file(index.shards_root / shard.name)
    if digest != shard.sha256:
        where = index.shards_root / shard.name
        raise UserError(f"{where}: shard damaged: its sha256 is {digest[:12]}..., not as {INDEX_NAME} says")


def first_damage(index: ShardIndex, number: int) -> str | None:
    """What is wrong with the first bad sample of shard `number`; None if all of them decode."""
    with ShardReader(index) as reader:
        for member in range(index.shards[number].count):
            try:
                sample = reader.read(number, member)
                decode_sample(index, number, sample)
                decode_fields(index, number, sample, index.fields)
            except Damaged as damage:
                return str(damage)
    return None
