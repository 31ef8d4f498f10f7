"""What a peer's loop had become after some steps, kept as a few numbers, so that drift shows without it.

Of a vector v its length is kept, and its products with `DOTS` vectors r of independent numbers of variance 1,
which `filling` draws. Since (r . d)^2 is |d|^2 on average, they tell how far another vector is from it.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tools.research.parity.filling import drawn
from tools.research.parity.lockstep.ours import LoopSetting, Ours, State
from tools.research.parity.recorded import commit_of

DOTS = 8


@dataclass(frozen=True)
class Digest:
    """The digest of one quantity after a step. length: |v|. dots: its products. yardstick: how far moving our
    weights took it, relative to |v|."""

    step: int
    what: str
    length: float
    dots: Sequence[float]
    yardstick: float


@dataclass(frozen=True)
class Record:
    """A file: both loops' setting, and digests of theirs."""

    peer: str
    setting: LoopSetting
    digests: Sequence[Digest]

    def drifts(self) -> Iterator[tuple[Digest, float]]:
        """Runs our loop: each digest, and how far ours is from it, relative to its length."""
        ours = Ours(self.setting)
        for step in range(1, max(digest.step for digest in self.digests) + 1):
            ours.step()
            state = ours.state()
            for digest in self.digests:
                if digest.step == step:
                    yield digest, drift(state[digest.what], digest)


def digest(step: int, what: str, theirs: Mapping[str, Tensor], yardstick: float) -> Digest:
    """theirs: tensors by our names, in any shape of the same order."""
    square = sum(float(tensor.detach().double().square().sum()) for tensor in theirs.values())
    return Digest(step, what, math.sqrt(square), _dots(theirs), yardstick)


def drift(ours: Mapping[str, Tensor], kept: Digest) -> float:
    """|ours - theirs| / |theirs|, to about a quarter of itself."""
    pairs = zip(_dots(ours), kept.dots, strict=True)
    far = math.sqrt(sum((a - b) ** 2 for a, b in pairs) / len(kept.dots))
    return far / kept.length if kept.length else far


def _dots(tensors: Mapping[str, Tensor]) -> list[float]:
    total = torch.zeros(DOTS, dtype=torch.float64)
    for name, tensor in tensors.items():
        total += _directions(name, tensor.numel()) @ tensor.detach().double().flatten()
    return total.tolist()


@functools.lru_cache(maxsize=1024)
def _directions(name: str, count: int) -> Tensor:
    return drawn(f"{name}.directions", (DOTS, count)).double()


def load(path: Path) -> Record:
    """A file of tests/models/parity/lockstep."""
    body = json.loads(path.read_text())
    digests = [Digest(**entry) for entry in body["digests"]]
    return Record(body["peer"], LoopSetting(**body["setting"]), digests)


def save(path: Path, checkout: Path, record: Record) -> None:
    """Writes it, with the checkout's commit."""
    body: dict[str, Any] = {"peer": record.peer, "commit": commit_of(checkout), **asdict(record)}
    path.write_text(json.dumps(body, indent=1) + "\n")


def kept(state: State, step: int, yardsticks: Mapping[str, float]) -> list[Digest]:
    """Digests of all that a peer's loop has."""
    return [digest(step, what, tensors, yardsticks[what]) for what, tensors in state.items() if tensors]
