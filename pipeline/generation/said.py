"""Texts that a user gives, as samples of a data set that has nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from pipeline.contracts import Batch, Conditional, ImageSpec, Sampler
from pipeline.errors import Damaged, UserError
from pipeline.reading import read_text

_FIELD = "text"
_MOST_BYTES = 1 << 16
"""Of a text; a file may have as many for each of its lines."""
_MOST_FILE_BYTES = 1 << 26


def parse_texts(texts: Sequence[str], file: Path | None) -> tuple[str, ...]:
    """The texts, or the lines of the file. UserError for one that is empty, too long or has a zero in it."""
    where = "--text" if file is None else f"--texts {file}"
    found = tuple(texts) if file is None else _lines(file)
    for number, text in enumerate(found, 1):
        size = len(text.encode(errors="replace"))
        if not text.strip() or size > _MOST_BYTES or "\0" in text:
            fault = "is empty" if not text.strip() else f"has {size} bytes"
            raise UserError(
                f"{where}: text {number} {fault}; 1 to {_MOST_BYTES} bytes of UTF-8 without zeros are allowed"
            )
    return found


def said(texts: Sequence[str], spec: ImageSpec) -> Batch:
    """A sample for each text, whose image is black."""
    data = [text.encode(errors="replace") for text in texts]
    longest = max(map(len, data))
    rows = torch.tensor([list(text.ljust(longest, b"\0")) for text in data], dtype=torch.uint8)
    images = torch.full((len(data), spec.channels, spec.height, spec.width), -1.0)
    return Batch(images, None, {_FIELD: rows})


def draws_texts(sampler: Sampler) -> Conditional:
    """The sampler; UserError unless a text is all that it makes an image of."""
    if not isinstance(sampler, Conditional) or sampler.fields != (_FIELD,):
        raise UserError("--text: this model does not draw texts; leave the option out")
    return sampler


def _lines(file: Path) -> tuple[str, ...]:
    try:
        lines = read_text(file, _MOST_FILE_BYTES).splitlines()
    except FileNotFoundError as error:
        raise UserError(f"--texts {file}: no such file") from error
    except Damaged as error:
        raise UserError(f"--texts {error}") from error
    if not lines:
        raise UserError(f"--texts {file}: is empty; a text in each line is needed")
    return tuple(lines)
