"""The file of Inception's weights: found or fetched, and checked before anything reads it.

It is a pickle, so that its sha256 is compared first, and what then reads it executes no code.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.storage.atomic import explained

INCEPTION_URL = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
    "weights-inception-2015-12-05-6726825d.pth"
)
INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
"""Of the published file; its first eight digits stand in the file's name, as torch hub has it."""

NAMES = ("weights-inception-2015-12-05-6726825d.pth", "pt_inception-2015-12-05-6726825d.pth")
"""The same file as torch-fidelity and as pytorch-fid publish it."""

_PATIENCE_SECONDS = 30.0


@dataclass(frozen=True)
class InceptionWeights:
    """Where the weights come from.

    path: the file; None looks into torch hub's folder ($TORCH_HOME/hub/checkpoints) and downloads it
    there if it is not. sha256: what it must have; any but the published one gives figures that compare
    with nothing else, so that every result records it.
    """

    path: Path | None = None
    sha256: str = INCEPTION_SHA256

    def read(self) -> dict[str, Tensor]:
        """The weights by name. UserError, in one line, for a file that is missing or not the right one."""
        path = self.path if self.path is not None else _found_or_fetched()
        return _load(path, self.sha256)


def _found_or_fetched() -> Path:
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    for name in NAMES:
        if (folder / name).is_file():
            return folder / name
    return _fetch(folder / NAMES[0])


def _fetch(path: Path) -> Path:
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _impatient():
            # Written aside, checked and renamed by torch hub.
            torch.hub.download_url_to_file(INCEPTION_URL, str(path), hash_prefix=INCEPTION_SHA256)
    except (OSError, RuntimeError) as error:
        reason = str(getattr(error, "reason", error)).splitlines()[0]
        raise UserError(
            f"{path}: Inception weights not there, and the download failed ({reason}); on a machine with "
            f"network: curl -LO {INCEPTION_URL} , then put the file there or give --inception-weights FILE; "
            "swd and msssim need no weights"
        ) from error
    return path


@contextmanager
def _impatient() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _load(path: Path, sha256: str) -> dict[str, Tensor]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path}: Inception weights: {os.strerror(error.errno or 0)}; "
            f"expected {NAMES[0]} from {INCEPTION_URL}"
        ) from error
    # The bytes that were checked are the bytes that are read: no second look at the file.
    found = hashlib.sha256(data).hexdigest()
    if found != sha256.lower():
        raise UserError(
            f"{path}: Inception weights: sha256 is {found}, must be {sha256}; get the file again from "
            f"{INCEPTION_URL}"
        )
    return _unpickled(path, data)


def _unpickled(path: Path, data: bytes) -> dict[str, Tensor]:
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise UserError(
            f"{path}: Inception weights: not a file of plain tensors; none of its code was run"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path}: Inception weights: must be tensors by name")
    return state


def chosen_weights(path: Path | None, sha256: str | None) -> InceptionWeights:
    """The published weights, or others of which both the file and its sha256 are named."""
    if sha256 is None:
        return InceptionWeights(path)
    if not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise UserError(f"--inception-digest {sha256}: must be a sha256, 64 hexadecimal digits")
    if path is None:
        raise UserError("--inception-digest: needs --inception-weights FILE, the file that has this sha256")
    return InceptionWeights(path, sha256.lower())
