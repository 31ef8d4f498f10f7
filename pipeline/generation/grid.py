"""Many images as one picture."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
from tqdm import tqdm

from pipeline.contracts import Sampler
from pipeline.errors import UserError
from pipeline.float32 import full_float32
from pipeline.generation.request import Request
from pipeline.images.codec import FORMATS, format_of
from pipeline.images.pictures import compose_grid, to_uint8, write_picture


def generate_grid(
    request: Request,
    make_sampler: Callable[[], Sampler],
    out: Path,
    *,
    columns: int | None = None,
    progress: bool = True,
) -> None:
    """Publishes the requested images, row by row, as one picture at `out`, whose file extension determines
    the format.

    By default there is a column for each class if classes are given, and otherwise about as many columns as
    rows.
    """
    _check_side(request, columns, out)
    if out.is_dir():
        raise UserError(f"{out}: is a folder; --grid writes one picture, such as {out}.png")
    full_float32()
    sampler = make_sampler()
    parts = []
    with tqdm(total=request.count, unit="img", desc="generate", disable=not progress) as bar:
        for numbers in request.batches(range(request.count)):
            parts.append(to_uint8(request.draw(sampler, numbers).images).cpu())
            bar.update(len(numbers))
    grid = compose_grid(torch.cat(parts), columns or default_columns(request))
    write_picture(out, grid, request.quality)


def default_columns(request: Request) -> int:
    """A column for each class if classes are given; otherwise as many as make the grid nearly square."""
    return min(len(request.classes) or math.ceil(math.sqrt(request.count)), request.count)


def _check_side(request: Request, columns: int | None, out: Path) -> None:
    across, longest = columns or default_columns(request), FORMATS[format_of(out)].longest
    spec = request.snapshot.spec
    width, height = across * spec.width, -(-request.count // across) * spec.height
    if max(width, height) > longest:
        raise UserError(
            f"{out}: the picture would have {width}x{height} pixels, its format allows {longest} a side; "
            "give a smaller --count, or leave --grid out for shards"
        )
