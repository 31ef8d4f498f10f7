"""What a prepared data set is, published in its folder: card.json for programs, README.md for people."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.contracts import COLOURS
from pipeline.data.preparing.copies import Copies
from pipeline.data.preparing.left_out import LEFT_OUT
from pipeline.data.preparing.report import PrepareReport
from pipeline.data.shards.index import ShardIndex
from pipeline.errors import Damaged
from pipeline.images.codec import FormatName
from pipeline.images.versions import encoder_versions
from pipeline.reading import checked, read_json
from pipeline.storage.atomic import publish_bytes
from pipeline.words import counted, printable

README, CARD = "README.md", "card.json"
_FORMAT, _VERSION = "hrgan-prepared", 1
_REASONS = 12


def describe(
    index: ShardIndex,
    held_out: ShardIndex | None,
    report: PrepareReport,
    kind: FormatName,
    copies: Copies,
    command: str,
) -> dict[str, Any]:
    """The content of card.json. held_out: the data set of the pictures that were held out. kind: the format
    of the images. command: that makes the data set."""
    reasons = Counter(reason for _, reason in report.skipped)
    return {
        "format": _FORMAT,
        "version": _VERSION,
        "command": command,
        "licence": None,
        "source": index.origin["source"],
        "count": index.count,
        "shards": len(index.shards),
        "bytes": sum(shard.bytes for shard in index.shards),
        "image": {"height": index.height, "width": index.width, "channels": index.channels},
        "index_digest": index.digest,
        "held_out": None if held_out is None else _part(held_out),
        "made": dict(index.origin),
        "classes": {name: report.labels.get(n, 0) for n, name in enumerate(index.classes)},
        "shorter_sides": {str(side): n for side, n in sorted(report.sides.items())},
        "shapes": dict(sorted(report.shapes.items())),
        "modes": dict(sorted(report.modes.items())),
        "suffixes": dict(sorted(report.suffixes.items())),
        "enlarged": report.enlarged,
        "remarks": dict(sorted(report.remarks.items())),
        "copies": {"groups": copies.groups, "pictures": copies.pictures},
        "left_out": {"count": len(report.skipped), "reasons": dict(reasons.most_common(_REASONS))},
        "versions": encoder_versions(kind),
    }


def _part(index: ShardIndex) -> dict[str, Any]:
    return {"count": index.count, "index_digest": index.digest}


def write_card(root: Path, card: Mapping[str, Any], sample: str | None) -> None:
    """Publishes both files. sample: the path of a picture to show, below `root`."""
    publish_bytes(root / CARD, (json.dumps(card, indent=1) + "\n").encode())
    publish_bytes(root / README, text_of(card, sample).encode(errors="backslashreplace"))


def read_card(root: Path) -> dict[str, Any] | None:
    """What card.json says of a prepared data set; None if there is none, or not of one."""
    try:
        content = checked(dict[str, Any], read_json(root / CARD), str(root / CARD))
    except (FileNotFoundError, Damaged):
        return None
    return content if (content.get("format"), content.get("version")) == (_FORMAT, _VERSION) else None


def text_of(card: Mapping[str, Any], sample: str | None) -> str:
    """The content of card.json as text."""
    image, made, left_out = card["image"], card["made"], card["left_out"]
    size = f"{image['width']}x{image['height']}, {COLOURS[image['channels']]}"
    lines = [
        f"# {card['count']:,} pictures of {printable(str(card['source']))}",
        "",
        *([f"![Samples]({sample})", ""] if sample else []),
        f"- Images: {card['count']:,} of {size}, {made['format']}, in {counted(card['shards'], 'shard')} of "
        f"{card['bytes'] / 2**20:,.1f} MiB in all; `index.json` has the sha256 of each",
        "- Licence: not stated; write that of the pictures here",
        f"- Protocol: {_shaping(made)}, filter {made['filter']}, seed {made['seed']}; compare a metric "
        "such as FID only with figures of the same protocol",
        *([f"- Classes: {_counts(card['classes'])}"] if card["classes"] else []),
        f"- Before: {_counts(card['suffixes'])}; {_counts(card['shapes'])}; {_counts(card['modes'])}",
        f"- Shorter sides, from as many pixels on: {_counts(card['shorter_sides'])}",
        *([f"- Enlarged: {card['enlarged']:,}"] if card["enlarged"] else []),
        f"- Copies of an earlier picture: {card['copies']['pictures']:,}",
        f"- Left out: {left_out['count']:,}" + (f", listed in `{LEFT_OUT}`" if left_out["count"] else ""),
        *_held_out(card["held_out"]),
        f"- Digest of the index: {card['index_digest']}",
        f"- Versions: {', '.join(f'{name} {version}' for name, version in card['versions'].items())}",
        "",
        *(["Made by:", "", f"    {printable(card['command'])}", ""] if card["command"] else []),
        f"`{CARD}` has all of this for programs.",
    ]
    return "\n".join(lines) + "\n"


def _held_out(part: Mapping[str, Any] | None) -> list[str]:
    if part is None:
        return []
    return [f"- Held out: {part['count']:,} in `held-out`, with the index digest {part['index_digest']}"]


def _counts(counts: Mapping[str, int], most: int = 40) -> str:
    first = list(counts.items())[:most]
    shown = ", ".join(f"{printable(name) or 'no suffix'} {count:,}" for name, count in first)
    return f"{shown}, ... ({len(counts)} in all)" if len(counts) > most else shown


def _shaping(made: Mapping[str, Any]) -> str:
    """How pictures came to their shape, and which were left out by what was asked."""
    shape = f"aligned by {made['align']}" if "align" in made else made.get("fit", f"crop {made['crop']}")
    asked = ("min_side", "max_aspect", "min_sharpness", "without_duplicates")
    return ", ".join([str(shape), *(f"{key} {made[key]}" for key in asked if key in made)])
