"""The same pictures in several forms of data sets, and what data sets made of them hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.reader import ShardReader
from tests.data.feeds import call, file, folder, noise

CLASSES = ("cat", "dog", "ox")
COUNT = 13


_KINDS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("PNG", {}),
    ("JPEG", {"quality": 90}),
    ("WEBP", {"lossless": True}),
)


def pictures(count: int = COUNT, size: tuple[int, int] = (20, 17)) -> list[bytes]:
    """Encoded pictures that all differ, of several kinds."""
    smooth = [noise(5, 4, seed).resize(size, Image.Resampling.BICUBIC) for seed in range(count)]
    return [file(one, _KINDS[n % 3][0], **_KINDS[n % 3][1]) for n, one in enumerate(smooth)]


def label(number: int) -> str:
    return CLASSES[number * 5 // 2 % 3]


def made(out: Path) -> list[tuple[bytes, str | None]]:
    """(image, class) of each sample in the order of the shards."""
    index = ShardIndex.read(out)
    with ShardReader(index) as reader:
        samples = [reader.read(s, m) for s, shard in enumerate(index.shards) for m in range(shard.count)]
    return [(s.image, None if s.label is None else index.classes[s.label]) for s in samples]


def from_folder(root: Path, data: list[bytes], labelled: bool = True) -> list[tuple[bytes, str | None]]:
    """What a folder of the same pictures becomes."""
    names = [f"{n:06d}" for n in range(len(data))]
    files = {f"all/{name}": one for name, one in zip(names, data, strict=True)}
    lines = "\n".join(f"{name},{label(n)}" for n, name in enumerate(names))
    folder(root / "plain", files)
    (root / "plain.csv").write_text(f"name,class\n{lines}\n")
    call(root / "reference", root / "plain", labels=root / "plain.csv" if labelled else "none")
    return made(root / "reference/out")
