"""Which generated images are good enough: what is asked of them, and what judges them while they are made."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.generation.duplicates import HASH_BITS, picture_hash
from pipeline.generation.training_images import TrainingImages

TOGETHER = 8
"""Images judged at once, or the next multiple of what a discriminator needs: always with the same others, so
that a score does not depend on batch sizes."""

SAMPLE = 256
"""Candidates whose scores say what a share such as 50% means: the first ones."""

_NAMES = ("discriminator", "realism", "duplicates")


@dataclass(frozen=True)
class Least:
    """A bound on a score: at least a value, or at least what this share of the first candidates reaches."""

    value: float
    is_share: bool = False

    def __str__(self) -> str:
        return f"best {self.value:.4g} of 1" if self.is_share else f"at least {self.value:.6g}"


@dataclass(frozen=True)
class Filters:
    """What is asked of an image.

    discriminator: the least logit. realism: the least score of Kynkaanniemi et al. 2019, eq. 3. duplicates:
    the picture hash must differ from that of every earlier image in more than so many of its 256 bits.
    neighbours: whether the nearest training images are listed. sources: digests of what judges, by name.
    most: how many candidates may be drawn; None: as many as images are asked for.
    """

    discriminator: Least | None = None
    realism: Least | None = None
    duplicates: int | None = None
    neighbours: bool = False
    sources: Mapping[str, str] = field(default_factory=dict)
    most: int | None = None

    @property
    def refuse(self) -> bool:
        """Whether any image may be refused."""
        return not (self.discriminator is None and self.realism is None and self.duplicates is None)

    def origin(self) -> dict[str, Any]:
        """What the index says of the filters; empty without any."""
        asked: dict[str, Any] = {
            name: str(getattr(self, name)) for name in _NAMES[:2] if getattr(self, name) is not None
        }
        if self.duplicates is not None:
            asked["duplicates"] = f"more than {self.duplicates} of {HASH_BITS} bits apart"
        if self.neighbours:
            asked["neighbours"] = True
        return {"filters": {**asked, **self.sources, "most": self.most}} if asked else {}


def parse_filters(words: Sequence[str]) -> dict[str, Any]:
    """Filters as a person writes them, such as `["discriminator:50%", "duplicates:10"]`, as fields of
    `Filters`. Errors: UserError for a word that is none."""
    settings: dict[str, Any] = {}
    for word in words:
        name, _, value = word.partition(":")
        if name not in _NAMES:
            raise UserError(f"--filter {word}: unknown; allowed: {', '.join(f'{n}:VALUE' for n in _NAMES)}")
        if name in settings:
            raise UserError(f"--filter {word}: {name} is given twice")
        settings[name] = _bits(word, value) if name == "duplicates" else _least(word, value)
    return settings


def _bits(word: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and int(value) < HASH_BITS):
        raise UserError(
            f"--filter {word}: allowed: duplicates:BITS, from 0 (equal hashes) to {HASH_BITS - 1}"
        )
    return int(value)


def _least(word: str, value: str) -> Least:
    if re.fullmatch(r"\d+(\.\d+)?%", value) and 0 < float(value[:-1]) < 100:
        return Least(float(value[:-1]) / 100, is_share=True)
    if re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)", value):
        return Least(float(value))
    raise UserError(
        f"--filter {word}: allowed: a number that the score must reach, or the share of the best, such as 50%"
    )


Score = Callable[[Tensor, Tensor | None], Tensor]
"""uint8 [N, C, H, W] and labels -> discriminator logits [N]; N is a multiple of what it needs."""


@dataclass(frozen=True)
class Opinion:
    """What the judges say of an image. scores: for its .json. notes: for the block's record."""

    scores: Mapping[str, float]
    notes: Mapping[str, Any]


class Panel:
    """Judges images, in groups of one size. group: the batches of the discriminator must be a multiple of
    it."""

    def __init__(
        self,
        filters: Filters,
        score: Score | None = None,
        training: TrainingImages | None = None,
        group: int = 1,
    ) -> None:
        self.filters, self._score, self.training = filters, score, training
        judges = score is not None or training is not None
        self.together = -(-TOGETHER // group) * group if judges else 1
        self.least: dict[str, float] = {}

    @torch.no_grad()
    def opinions(self, pixels: Tensor, labels: Tensor | None) -> list[Opinion]:
        """The opinions on uint8 images [N, C, H, W], the first of which begins a group."""
        opinions: list[Opinion] = []
        for start in range(0, len(pixels), self.together):
            part = slice(start, start + self.together)
            opinions += self._group(pixels[part], None if labels is None else labels[part])
        return opinions

    @property
    def scored(self) -> list[str]:
        """The names of the filters that bound a score."""
        return [name for name in _NAMES[:2] if getattr(self.filters, name) is not None]

    def settle(self, sample: Callable[[], Sequence[Opinion]]) -> dict[str, float]:
        """Turns each bound into a value. sample: gives the first candidates, and is called only for bounds
        that are shares."""
        asked = {name: getattr(self.filters, name) for name in self.scored}
        first = sample() if any(least.is_share for least in asked.values()) else []
        return {name: _limit(least, [one.scores[name] for one in first]) for name, least in asked.items()}

    def refusal(self, opinion: Opinion) -> str | None:
        """The name of the filter that refuses an image; None if none does."""
        return next((name for name, least in self.least.items() if opinion.scores[name] < least), None)

    def _group(self, pixels: Tensor, labels: Tensor | None) -> list[Opinion]:
        count = len(pixels)
        scores: list[dict[str, float]] = [{} for _ in range(count)]
        notes: list[dict[str, Any]] = [{} for _ in range(count)]
        filled = torch.arange(self.together, device=pixels.device) % count
        if self._score is not None:
            logits = self._score(pixels[filled], None if labels is None else labels[filled])
            for one, logit in zip(scores, logits.tolist(), strict=False):
                one["discriminator"] = logit
        if self.training is not None:
            realism, nearest = self.training.look(pixels[filled])
            for place in range(count):
                scores[place]["realism"] = realism[place]
                if self.filters.neighbours:
                    notes[place]["nearest"] = nearest[place]
        if self.filters.duplicates is not None:
            for note, text in zip(notes, picture_hash(pixels), strict=True):
                note["hash"] = text
        return [Opinion(*both) for both in zip(scores, notes, strict=True)]


def _limit(least: Least, scores: Sequence[float]) -> float:
    if not least.is_share:
        return least.value
    best = sorted(scores, reverse=True)
    return best[max(round(least.value * len(best)), 1) - 1]
