"""Vectors saved beside their picture, as safetensors with metadata in JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import Damaged, UserError
from pipeline.reading import parse_json
from pipeline.storage.atomic import publish_file
from pipeline.storage.snapshots import Snapshot
from pipeline.storage.tensors import load_tensors, read_about, save_tensors

_KEY = "hrgan"


@dataclass(frozen=True)
class Vectors:
    """The vectors that a tool saved: named tensors, and how they were made."""

    path: Path
    tensors: Mapping[str, Tensor]
    about: Mapping[str, Any]

    def of(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """The float32 tensor `name`, [N, *shape]. UserError if there is none, or if it belongs to another
        generator."""
        vectors = self.tensors.get(name)
        if vectors is None:
            there = ", ".join(sorted(self.tensors)) or "nothing"
            raise UserError(f"{self.path}: holds {there}; must hold {name}")
        if vectors.ndim != len(shape) + 1 or tuple(vectors.shape[1:]) != shape or len(vectors) == 0:
            raise UserError(
                f"{self.path}: its {name} are {list(vectors.shape)}; this generator takes "
                f"{['N', *shape]}: layers and components".replace("'", "")
            )
        vectors = vectors.float()
        if not torch.isfinite(vectors).all():
            raise UserError(f"{self.path}: its {name} are not all finite numbers")
        return vectors


def vectors_path(picture: Path) -> Path:
    """The file for the vectors of a picture, beside it."""
    return picture.with_suffix(".safetensors")


def check_vectors(picture: Path, tool: str) -> None:
    """Raises UserError, before any work is done, if another tool's vectors or another file would be
    overwritten."""
    path = vectors_path(picture)
    if not path.exists():
        return
    try:
        kept = str(load_vectors(path).about.get("tool"))
    except UserError:
        kept = "something else"
    if kept != tool:
        raise UserError(f"{path}: keeps the vectors of {kept}; give OUT another name, or move that file")


def save_vectors(picture: Path, tensors: Mapping[str, Tensor], snapshot: Snapshot, **about: Any) -> Path:
    """Publishes the vectors of a picture, and returns their path. `about` says how they were made, in plain
    values."""
    path = vectors_path(picture)
    known = {
        "snapshot": snapshot.digest,
        "images_seen": snapshot.images_seen,
        "source": snapshot.source,
        "family": snapshot.family.name,
        **about,
    }
    # Safetensors cannot hold tensors that share memory, such as an expanded w.
    plain = {
        name: tensor.detach().float().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    with publish_file(path) as aside:
        save_tensors(aside, plain, {_KEY: json.dumps(known, sort_keys=True)})
    return path


def load_vectors(path: Path) -> Vectors:
    """What `save_vectors` wrote. UserError for any other file."""
    if not path.exists():
        raise UserError(f"{path}: no such file; allowed: the .safetensors that a tool wrote")
    try:
        tensors, header = load_tensors(path), read_about(path)
        about = parse_json(header.get(_KEY, "null"), str(path))
    except Damaged as damage:
        reason = str(damage).removeprefix(f"{path}: ").splitlines()[-1]
        raise UserError(f"{path}: not vectors of hrgan explore ({reason:.80})") from damage
    if not isinstance(about, dict):
        raise UserError(f"{path}: safetensors, but not vectors of hrgan explore")
    return Vectors(path, tensors, about)
