"""What a data set is, as a page for people."""

from __future__ import annotations

import json
from collections.abc import Iterator

from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.local import read_beside
from pipeline.errors import Damaged
from pipeline.images.codec import MODES
from pipeline.storage.faults import machine_fails, refusal

_MOST_CLASSES = 40


def data_card(index: ShardIndex) -> str:
    """Markdown: a table of what the index says, how the set was made, and the set's own README.md if it has
    one."""
    rows = "\n".join(f"| {name} | {_cell(value)} |" for name, value in _rows(index))
    parts = [f"| data set | |\n|---|---|\n{rows}"]
    try:
        parts.append(read_beside(index, "README.md").decode(errors="replace"))
    except FileNotFoundError:
        pass
    except Damaged as damage:
        if machine_fails(damage.__cause__):  # the same command would show it
            raise refusal(damage, str(damage)) from damage
        parts.append(f"not shown: {damage}")
    return "\n\n".join(parts)


def _rows(index: ShardIndex) -> Iterator[tuple[str, object]]:
    size = sum(shard.bytes for shard in index.shards)
    mode = "grey" if index.channels == 1 else MODES[index.channels]
    yield "folder", str(index.root)
    yield "images", f"{index.count:,}, {index.width}x{index.height}, {mode}"
    yield "shards", f"{len(index.shards)}, {size / 2**20:,.1f} MiB"
    if index.data_root:
        yield "shards of others, in", str(index.shards_root)
    yield "classes", _classes(index.classes)
    for field in index.fields:
        shape = "x".join(map(str, field.shape))
        yield f"field {field.name}", f"{field.kind}, {shape}, {field.dtype}"
    yield "digest", index.digest
    for name, value in index.origin.items():
        yield name.replace("_", " "), value if isinstance(value, str) else json.dumps(value)


def _classes(names: tuple[str, ...]) -> str:
    if not names:
        return "none"
    more = f", ... ({len(names):,} in all)" if len(names) > _MOST_CLASSES else ""
    return ", ".join(names[:_MOST_CLASSES]) + more


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")
