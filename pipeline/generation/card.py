"""The data card of a generated data set: README.md for people, card.json for programs, and a contact
sheet."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.contracts import COLOURS
from pipeline.data.shards.index import ShardIndex
from pipeline.data.streaming.numbered import UnflippedReader
from pipeline.generation.blocks import Blocks
from pipeline.generation.request import Request
from pipeline.generation.selection import Selection
from pipeline.images.pictures import compose_grid, write_picture
from pipeline.images.versions import encoder_versions
from pipeline.storage.atomic import publish_bytes

README, CARD, SHEET = "README.md", "card.json", "contact.jpg"
_COLUMNS, _MOST, _SIDE = 8, 64, 128


@dataclass(frozen=True)
class About:
    """What only the caller knows about a data set: the command that makes it, and its licence."""

    command: str = ""
    licence: str | None = None


def write_card(
    index: ShardIndex,
    blocks: Blocks,
    selection: Selection,
    request: Request,
    about: About,
    least: Mapping[str, float],
) -> None:
    """Publishes the three files in the folder of a data set whose shards are complete. `least` is the lowest
    score that each filter accepted."""
    card = describe(index, blocks, selection, request, about)
    card["candidates"]["least"] = dict(least)
    write_picture(index.folder / SHEET, contact_sheet(index))
    publish_bytes(index.folder / CARD, (json.dumps(card, indent=1) + "\n").encode())
    publish_bytes(index.folder / README, text_of(card).encode())


def describe(
    index: ShardIndex, blocks: Blocks, selection: Selection, request: Request, about: About
) -> dict[str, Any]:
    """The content of card.json."""
    snapshot, numbers = request.snapshot, [n for kept in selection.kept.values() for n in kept]
    seen = sum(len(blocks.numbers(block)) for block in selection.kept)
    card = {
        "format": "hrgan-card",
        "version": 1,
        "command": about.command,
        "licence": about.licence or "not stated",
        "count": index.count,
        "shards": len(index.shards),
        "image": {"height": index.height, "width": index.width, "channels": index.channels},
        "file_format": {"kind": request.kind, "quality": request.quality},
        "index_digest": index.digest,
        "made": dict(index.origin),
        "seeds": {"first": request.seed + numbers[0], "last": request.seed + numbers[-1]},
        "truncation": {str(psi): n for psi, n in sorted(Counter(map(request.psi, numbers)).items())},
        "candidates": {
            "drawn": seen,
            "accepted": index.count,
            "refused": dict(sorted(selection.refused.items())),
            "surplus": selection.surplus,
        },
        "snapshot": {
            "digest": snapshot.digest,
            "images_seen": snapshot.images_seen,
            "imported": snapshot.manifest.details.get("origin"),
            "family": snapshot.manifest.details["family"],
            "trained_on": snapshot.manifest.details.get("data"),
            "code": dict(snapshot.manifest.code),
        },
        "versions": encoder_versions(request.kind),
        "contact_sheet": SHEET,
    }
    if index.classes:
        counts = Counter(row["class"] for row in selection.rows())
        card["classes"] = {index.classes[number]: count for number, count in sorted(counts.items())}
    return card


def contact_sheet(index: ShardIndex) -> Any:
    """Up to 64 images, evenly spaced over the data set and reduced, as one picture [H, W, C] uint8."""
    count = min(index.count, _MOST)
    with UnflippedReader(index) as reader:
        small = [reduced(reader.image(place * index.count // count)) for place in range(count)]
    return compose_grid(torch.stack(small), min(_COLUMNS, count))


def reduced(image: Tensor) -> Tensor:
    """An image [C, H, W] uint8, reduced so that its longer side has at most 128 pixels."""
    scale = min(_SIDE / max(image.shape[1:]), 1.0)
    if scale == 1.0:
        return image
    size = (max(round(image.shape[2] * scale), 1), max(round(image.shape[1] * scale), 1))
    planes = [Image.fromarray(plane.numpy()).resize(size, Image.Resampling.BOX) for plane in image]
    return torch.from_numpy(np.stack([np.asarray(plane) for plane in planes]))


def text_of(card: Mapping[str, Any]) -> str:
    """The content of card.json as text."""
    image, snapshot, drawn = card["image"], card["snapshot"], card["candidates"]
    lines = [
        f"# {card['count']} generated images",
        "",
        f"None of these images is a photograph: a {snapshot['family']['name']} generator made all of them.",
        "",
        f"![Contact sheet]({card['contact_sheet']})",
        "",
        f"- Images: {card['count']} of {image['width']}x{image['height']}, "
        f"{COLOURS[image['channels']]}, {card['file_format']['kind']}, "
        f"in {card['shards']} WebDataset shards; `index.json` has the sha256 of each",
        f"- Licence: {card['licence']}",
        f"- Seeds: {card['seeds']['first']} to {card['seeds']['last']}, an image each",
        f"- Truncation psi: {_counts(card['truncation'])}",
        *([f"- Classes: {_counts(card['classes'])}"] if "classes" in card else []),
        f"- Candidates: {drawn['drawn']} drawn, {drawn['accepted']} accepted"
        + (f"; refused: {_counts(drawn['refused'])}" if drawn["refused"] else "")
        + (f"; not needed: {drawn['surplus']}" if drawn["surplus"] else ""),
        *([f"- Scores at least: {_counts(drawn['least'])}"] if drawn["least"] else []),
        f"- Generator: snapshot {snapshot['digest']}, {_trained(snapshot)}",
        f"- Versions: {', '.join(f'{name} {version}' for name, version in card['versions'].items())}",
        "",
        *(["Made by:", "", f"    {card['command']}", ""] if card["command"] else []),
        "Beside each image, KEY.json holds its seed, psi, class and the snapshot's digest.",
        "`card.json` has all of this for programs.",
    ]
    return "\n".join(lines) + "\n"


def _trained(snapshot: Mapping[str, Any]) -> str:
    origin, data = snapshot["imported"], snapshot["trained_on"] or {}
    if origin:
        return (
            f"imported from {origin['file']} ({origin['format']}), sha256 {origin['sha256']}; what it was "
            "trained on is not known"
        )
    digest = data.get("digest", "unknown")
    return f"at {snapshot['images_seen']} images seen, trained on the data set with index digest {digest}"


def _counts(counts: Mapping[str, float]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in counts.items())
