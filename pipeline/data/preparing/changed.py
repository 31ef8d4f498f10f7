"""Refuses to go on with a data set whose source has changed since, and says how it has changed and what to
do."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.data.shards.index import INDEX_NAME, ShardIndex, read_unfinished
from pipeline.data.shards.reader import ShardReader
from pipeline.data.shards.samples import no_damage
from pipeline.data.sources.source import Source
from pipeline.errors import UserError
from pipeline.images.normalised import Unreadable


def refuse_changed_source(out: Path, origin: Mapping[str, Any], source: Source, title: str) -> None:
    """UserError if `out` holds, whole or in part, a data set of `source` as it was with other pictures.

    Everything else in which they differ is told by who writes the shards.
    """
    if not (out / INDEX_NAME).is_file():
        return
    there = read_unfinished(out)
    if any(there.origin.get(key) != origin[key] for key in ("made_by", "source")):
        return
    if there.origin.get("listing") == origin["listing"]:
        return
    had, names = _pictures(there), source.listing.names
    if not there.complete:
        raise UserError(
            f"{out}: holds the beginning of a data set of {title} as it was before (the source has "
            f"{len(names)} pictures now); give a new folder, or put the source back"
        )
    gone = len(had.difference(names))
    # What a drawn set lacks may have been there when it was drawn.
    added = _readable(source, had) if origin["count"] is None else 0
    if gone or added:
        more = f"{added} added" if added else f"the source has {len(names)} pictures now"
        raise UserError(
            f"{out}: holds a data set of {title} as it was before ({more}, {gone} of the {len(had)} in it "
            "removed since); give a new folder to make one of what is there now, or put the source back"
        )


def _readable(source: Source, known: set[str]) -> int:
    """How many pictures of the source are not among the known ones and have a readable header."""
    count = 0
    for number, name in enumerate(source.listing.names):
        if name not in known:
            with suppress(Unreadable):
                source.size(number)
                count += 1
    return count


def _pictures(index: ShardIndex) -> set[str]:
    """The names that the pictures in whole shards have in the source."""
    with ShardReader(index) as reader, no_damage():
        places = [(s, m) for s, shard in enumerate(index.shards) for m in range(shard.count)]
        return {str(reader.read(*place).meta.get("source")) for place in places}
