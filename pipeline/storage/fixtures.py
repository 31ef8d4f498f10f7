"""Files of frozen networks: told by their digest, and read without running anything in them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from pipeline.errors import Damaged, UserError
from pipeline.reading import open_file
from pipeline.storage.faults import refusal
from pipeline.storage.snapshots import GENERATOR


def read_fixture(where: str, file: Path, sha256: str | None) -> tuple[dict[str, Tensor], str]:
    """The tensors of a .safetensors file by name, on the CPU, and its sha256.

    where: who names it, for errors (fixtures.teacher). file: of a snapshot's folder, that of its generator.
    sha256: what it must be; None takes any.
    Errors: UserError, in one line, for a file that is missing, is another, or holds no tensors.
    """
    inside = file / GENERATOR
    file = inside if inside.is_file() else file
    data = _content(where, file)
    digest = hashlib.sha256(data).hexdigest()
    if sha256 is not None and digest != sha256.lower():
        raise UserError(f"{where}: {file}: sha256 is {digest}, must be {sha256.lower()}; allowed: that file")
    try:
        # Of the bytes that were checked: the file may be another by now.
        return load(data), digest
    except (SafetensorError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{where}: {file}: not a file of safetensors ({reason:.80})") from error


def _content(where: str, file: Path) -> bytes:
    try:
        with open_file(file) as opened:
            return opened.read()
    except FileNotFoundError as error:
        raise UserError(f"{where}: {file}: no such file; allowed: a .safetensors file") from error
    except Damaged as damage:
        raise refusal(damage, f"{where}: {damage}; allowed: a .safetensors file") from damage
    except OSError as error:
        raise UserError(f"{where}: {file}: cannot be read ({error.strerror})") from error
