"""The shards of a data set as files of this machine, wherever it lies."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.rows import Shard
from pipeline.data.stores.cache import cache_for
from pipeline.data.stores.download import StoredFile
from pipeline.data.stores.patience import Absent
from pipeline.data.stores.place import Remote
from pipeline.data.stores.systems import read_store
from pipeline.errors import Damaged, UserError
from pipeline.reading import MOST_BYTES, read_bytes

_BELIEVED_SECONDS = 600.0  # that a shard is missing from a store, or is another


class LocalShards:
    """The files of `index`: its own on disk, or copies in this machine's cache of what a store has.

    damaged: "skip" takes a shard of a store as it is there, as one on disk is taken, and leaves it to the
    reader to find the samples that are whole; "error" takes only what has the sha256 that the index says.
    """

    def __init__(self, index: ShardIndex, damaged: Literal["error", "skip"] = "error") -> None:
        self._root, self._as_it_is = index.shards_root, damaged == "skip"
        self._faults: dict[str, tuple[float, str]] = {}

    def open(self, shard: Shard) -> tuple[Path, int]:
        """The path of a shard on this machine, and a descriptor of it; while that is open, a copy stays.
        Errors: OSError; for a store as `ShardCache.open`."""
        if isinstance(self._root, Path):
            path = self._root / shard.name
            return path, os.open(path, os.O_RDONLY)
        self._raise_known(shard)
        try:
            return cache_for(self._root.settings).open(_stored(self._root, shard), as_it_is=self._as_it_is)
        except Damaged as damage:
            self._faults[shard.name] = (time.monotonic(), str(damage))
            raise

    def bring(self, shard: Shard, given_up: Callable[[], bool]) -> None:
        """Brings a shard of a store here before it is needed; errors as `ShardCache.bring`."""
        if isinstance(self._root, Remote):
            self._raise_known(shard)
            cache_for(self._root.settings).bring(_stored(self._root, shard), given_up)

    def drop_if_changed(self, shard: Shard) -> bool:
        """Whether a copy was not what the store has, and is removed, so that it is brought anew."""
        if isinstance(self._root, Path):
            return False
        return cache_for(self._root.settings).drop_if_changed(_stored(self._root, shard))

    def _raise_known(self, shard: Shard) -> None:
        # Or every sample of a missing shard would ask the store for it.
        when, fault = self._faults.get(shard.name, (0.0, ""))
        if fault and time.monotonic() - when < _BELIEVED_SECONDS:
            raise Damaged(fault)


def _stored(root: Remote, shard: Shard) -> StoredFile:
    return StoredFile(root / shard.name, shard.bytes, shard.sha256)


def read_beside(index: ShardIndex, name: str) -> bytes:
    """A small file that may lie beside the shards. Raises FileNotFoundError if it does not, and Damaged as
    `reading.read_bytes`."""
    if isinstance(index.root, Path):
        return read_bytes(index.root / name)
    try:
        return read_store(index.root / name, MOST_BYTES)
    except (Absent, UserError) as error:  # who may not list is told of what is not there that it is forbidden
        raise FileNotFoundError(str(index.root / name)) from error
