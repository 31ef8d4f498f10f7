"""Points with thumbnails for TensorBoard's projector, as files beside a folder's events."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from google.protobuf import text_format
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig
from torch import Tensor

from pipeline.errors import Damaged
from pipeline.images.codec import Pixels
from pipeline.images.pictures import compose_grid, write_picture
from pipeline.reading import read_json
from pipeline.storage.atomic import publish_bytes

CONFIG = "projector_config.pbtxt"
_ABOUT = "projector.json"
_THUMBNAIL, _SHEET = (
    64,
    8192,
)  # sides in pixels: of a thumbnail, and of the largest sheet of them that browsers load


@dataclass(frozen=True)
class Embedding:
    """Points in one space. vectors: [N, D]. images: [N, C, H, W] uint8, one for each point. columns:
    properties of the points, by column title."""

    vectors: Tensor
    images: Tensor
    columns: Mapping[str, Sequence[object]]


def publish_points(folder: Path, spaces: Mapping[str, Embedding], about: str) -> None:
    """Makes `spaces`, keyed by name, everything that the projector shows of `folder`. `about` is kept for
    `shown_points`."""
    config = ProjectorConfig()
    for name, points in spaces.items():
        height, width = _thumbnail(points.images)
        publish_bytes(folder / f"{name}.tsv", _rows(points.vectors.tolist()))
        publish_bytes(folder / f"{name}-about.tsv", _table(points.columns))
        write_picture(folder / f"{name}-thumbnails.png", _sheet(points.images, height, width))
        embedding = config.embeddings.add(tensor_name=name, tensor_path=f"{name}.tsv")
        embedding.metadata_path = f"{name}-about.tsv"
        embedding.sprite.image_path = f"{name}-thumbnails.png"
        embedding.sprite.single_image_dim.extend([width, height])
    publish_bytes(folder / CONFIG, text_format.MessageToString(config).encode())
    publish_bytes(folder / _ABOUT, json.dumps(about).encode())


def shown_points(folder: Path) -> str | None:
    """The `about` of the last call of `publish_points`; None if there was none."""
    try:
        return str(read_json(folder / _ABOUT))
    except (FileNotFoundError, Damaged):
        return None


def _thumbnail(images: Tensor) -> tuple[int, int]:
    """The height and width of the thumbnails in a sheet."""
    count, _, height, width = images.shape
    most = min(_THUMBNAIL, _SHEET // math.ceil(math.sqrt(count)))
    scale = min(1, most / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _sheet(images: Tensor, height: int, width: int) -> Pixels:
    small = torch.nn.functional.interpolate(images.float(), (height, width), mode="area")
    return compose_grid(small.round().to(torch.uint8), math.ceil(math.sqrt(len(images))))


def _rows(rows: Sequence[Sequence[object]]) -> bytes:
    return "".join("\t".join(map(_cell, row)) + "\n" for row in rows).encode()


def _table(columns: Mapping[str, Sequence[object]]) -> bytes:
    # TensorBoard expects a heading line only if there is more than one column.
    assert len(columns) > 1, "a table needs two columns to have a heading"
    return _rows([list(columns), *zip(*columns.values(), strict=True)])


def _cell(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else " ".join(str(value).split())
