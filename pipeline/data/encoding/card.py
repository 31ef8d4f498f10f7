"""The data card of a data set of latents: README.md for people, card.json for programs, and a picture of what
the codec keeps of images."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch

from pipeline.contracts import COLOURS, MOMENTS
from pipeline.data.encoding.request import Request
from pipeline.data.shards.arrays import unpack
from pipeline.data.shards.decode import decode_sample
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.reader import ShardReader
from pipeline.data.shards.samples import no_damage
from pipeline.images.pictures import compose_grid, to_uint8, write_picture
from pipeline.storage.atomic import publish_bytes
from pipeline.storage.manifest import code_version
from pipeline.words import counted, printable

README, CARD, PAIRS = "README.md", "card.json", "contact.jpg"
_SHOWN = 8


def write_card(index: ShardIndex, request: Request, command: str) -> None:
    """Publishes the three files in the folder of a data set whose shards are complete."""
    card = describe(index, request, command)
    write_picture(index.folder / PAIRS, pairs(index, request))
    publish_bytes(index.folder / CARD, (json.dumps(card, indent=1) + "\n").encode())
    publish_bytes(index.folder / README, text_of(card).encode(errors="backslashreplace"))


def describe(index: ShardIndex, request: Request, command: str) -> dict[str, Any]:
    """The content of card.json."""
    assert index.latents is not None
    return {
        "format": "hrgan-encoded",
        "version": 1,
        "command": command,
        "licence": "that of the images",
        "count": index.count,
        "shards": len(index.shards),
        "bytes": sum(shard.bytes for shard in index.shards),
        "image": {"height": index.height, "width": index.width, "channels": index.channels},
        "index_digest": index.digest,
        "made": dict(index.origin),
        "codec": {"file": request.coder.file, **index.latents.as_json()},
        "moments": {"shape": list(request.moments.shape), "dtype": request.dtype},
        "versions": code_version(),
    }


def pairs(index: ShardIndex, request: Request) -> Any:
    """The first images, and below each what the codec makes of the mean of its latents: one picture [H, W, C]
    uint8."""
    samples = _first(index, request)
    images = torch.stack([image.permute(2, 0, 1) for image, _ in samples])
    decoded = [request.coder.decode(mean[None].to(request.device)).cpu() for _, mean in samples]
    return compose_grid(torch.cat([images, to_uint8(torch.cat(decoded))]), len(images))


def _first(index: ShardIndex, request: Request) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The images [H, W, C] uint8 and means of latents [C', H', W'] of the first samples."""
    field, found = request.moments, []
    with ShardReader(index) as reader, no_damage():
        for member in range(min(_SHOWN, index.shards[0].count)):
            sample = reader.read(0, member)
            moments = unpack(sample.fields[field.name][1], field.shape, field.dtype).astype("float32")
            found.append((decode_sample(index, 0, sample), torch.from_numpy(moments).chunk(2)[0]))
    return found


def text_of(card: Mapping[str, Any]) -> str:
    """The content of card.json as text."""
    image, codec, moments = card["image"], card["codec"], card["moments"]
    channels, height, width = moments["shape"]
    size = f"{image['width']}x{image['height']}, {COLOURS[image['channels']]}"
    lines = [
        f"# {card['count']:,} images with their latents",
        "",
        f"![Images, and what the codec keeps of them]({PAIRS})",
        "",
        f"- Images: {card['count']:,} of {size}, in {counted(card['shards'], 'shard')} of "
        f"{card['bytes'] / 2**20:,.1f} MiB in all; those of the data set with the index digest "
        f"{card['made']['of']}",
        f"- Licence: {card['licence']}",
        f"- Latents: KEY.{MOMENTS}.npy, {moments['dtype']} [{channels}, {height}, {width}]: {channels // 2} "
        "channels of means, then as many of standard deviations, without scale",
        f"- Scale: {codec['scale']:.6g}; models see (mean + deviation * noise) times this",
        f"- Codec: {printable(codec['file'])}, sha256 {codec['codec']}",
        f"- Digest of the index: {card['index_digest']}",
        f"- Versions: {', '.join(f'{name} {version}' for name, version in card['versions'].items())}",
        "",
        *(["Made by:", "", f"    {printable(card['command'])}", ""] if card["command"] else []),
        f"`{CARD}` has all of this for programs.",
    ]
    return "\n".join(lines) + "\n"
