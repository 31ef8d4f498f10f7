"""WebDataset shards as other programs write them, by webdataset itself, and what is made of them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import webdataset
from PIL import Image

from pipeline.data.preparing.in_place import prepare_in_place
from pipeline.data.preparing.report import PrepareReport
from pipeline.data.preparing.settings import Asked
from pipeline.data.shards.index import ShardIndex
from tests.data.sets import png

Sample = Mapping[str, Any]


def write_shards(folder: Path, samples: Sequence[Sample], per_shard: int = 16) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with webdataset.ShardWriter(f"{folder}/%05d.tar", maxcount=per_shard, verbose=0) as writer:
        for sample in samples:
            writer.write(dict(sample))
    return folder


def counting(count: int, **more: Any) -> list[Sample]:
    """Samples of which the images say their number; sample n has class n % 10."""
    return [{"__key__": f"a/{n:06d}", "png": png(n), "cls": n % 10, **more} for n in range(count)]


def photo(number: int, side: int = 16) -> Image.Image:
    """A picture with soft edges, whose colours a JPEG subsamples."""
    rng = np.random.default_rng(number)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
    return coarse.resize((side, side), Image.Resampling.BICUBIC)


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def in_place(source: Path | str, out: Path, *, workers: int = 1, **asked: Any) -> PrepareReport:
    return prepare_in_place(source, out, Asked(**asked), workers=workers)


def in_place_of(folder: Path, samples: Sequence[Sample], **options: Any) -> ShardIndex:
    in_place(write_shards(folder / "theirs", samples), folder / "out", **options)
    return ShardIndex.read(folder / "out")


def change_index(out: Path, change: Mapping[str, Any]) -> None:
    content = json.loads((out / "index.json").read_text())
    (out / "index.json").write_text(json.dumps({**content, **change}))
