"""What prepare is fed in tests, and what it made of it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.data.preparing.prepare import PrepareReport, prepare
from pipeline.data.preparing.settings import Asked
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.reader import ShardReader
from pipeline.data.shards.verify import verify
from pipeline.data.streaming.numbered import read_uint8

Bytes = dict[str, bytes]


def file(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def plain(value: int, size: tuple[int, int] = (16, 16)) -> bytes:
    return file(Image.new("RGB", size, (value, value, value)))


def folder(root: Path, files: Bytes) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def stored(out: Path) -> dict[str, np.ndarray]:
    """Source name -> [H, W, C]."""
    index = ShardIndex.read(out)
    verify(index)
    with ShardReader(index) as reader:
        places = [(s, m) for s, shard in enumerate(index.shards) for m in range(shard.count)]
        names = [reader.read(*place).meta["source"] for place in places]
    images = [image.permute(1, 2, 0).numpy() for batch, _, _ in read_uint8(index) for image in batch]
    return dict(zip(names, images, strict=True))


def labels_of(out: Path) -> dict[str, str]:
    index = ShardIndex.read(out)
    with ShardReader(index) as reader:
        samples = [reader.read(s, m) for s, shard in enumerate(index.shards) for m in range(shard.count)]
    return {s.meta["source"]: index.classes[s.label] for s in samples if s.label is not None}


def fingerprint(out: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(out.iterdir())}


def one(tmp_path: Path, data: bytes, name: str = "x.png", side: int = 16, **options: Any) -> np.ndarray:
    source = folder(tmp_path / "in", {name: data})
    prepare(source, tmp_path / "out", Asked(resolution=side, **options), workers=1)
    return stored(tmp_path / "out")[name]


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def call(
    tmp_path: Path,
    source: str | Path,
    workers: int = 1,
    say: Callable[[str], object] = lambda line: None,
    **options: Any,
) -> PrepareReport:
    asked = Asked(**{"resolution": 16, **options})
    return prepare(source, tmp_path / "out", asked, workers=workers, say=say)
