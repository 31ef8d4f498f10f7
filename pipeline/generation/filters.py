"""Filters on generated images: what is required of an image, and what judges images as they are made."""

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
"""How many images are judged in a group, rounded up to what the discriminator requires. Groups are fixed, so
that a score does not depend on batch sizes."""

SAMPLE = 256
"""How many of the first candidates determine the value of a share such as 50%."""

_NAMES = ("discriminator", "realism", "duplicates")


@dataclass(frozen=True)
class Least:
    """A bound on a score: a value that must be reached, or the share of the first candidates that reach
    it."""

    value: float
    is_share: bool = False

    def __str__(self) -> str:
        return f"best {self.value:.4g} of 1" if self.is_share else f"at least {self.value:.6g}"


@dataclass(frozen=True)
class Filters:
    """What is required of an image.

    discriminator: the lowest logit. realism: the lowest realism score (Kynkaanniemi et al. 2019, eq. 3).
    duplicates: the picture hash must differ from those of all earlier images in more than this many of its
    256 bits. neighbours: whether to list the nearest training images. sources: digests of the networks and
    data behind the scores, by name. most: how many candidates may be drawn; None: a fixed multiple of the
    number of images.
    """

    discriminator: Least | None = None
    realism: Least | None = None
    duplicates: int | None = None
    neighbours: bool = False
    sources: Mapping[str, str] = field(default_factory=dict)
    most: int | None = None

    @property
    def refuse(self) -> bool:
        """Whether an image can be refused at all."""
        return not (self.discriminator is None and self.realism is None and self.duplicates is None)

    def origin(self) -> dict[str, Any]:
        """What the index records about the filters; empty if there are none."""
        asked: dict[str, Any] = {
            name: str(getattr(self, name)) for name in _NAMES[:2] if getattr(self, name) is not None
        }
        if self.duplicates is not None:
            asked["duplicates"] = f"more than {self.duplicates} of {HASH_BITS} bits apart"
        if self.neighbours:
            asked["neighbours"] = True
        return {"filters": {**asked, **self.sources, "most": self.most}} if asked else {}


def parse_filters(words: Sequence[str]) -> dict[str, Any]:
    """Filters as a user writes them, such as `["discriminator:50%", "duplicates:10"]`, as fields of
    `Filters`. UserError for anything else."""
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
"""uint8 images [N, C, H, W] and their labels -> discriminator logits [N]; N must be a multiple of the group
size that the discriminator requires."""


@dataclass(frozen=True)
class Opinion:
    """What the judges say about an image. `scores` go into its .json, `notes` into the block's record."""

    scores: Mapping[str, float]
    notes: Mapping[str, Any]


class Panel:
    """Judges images, in groups of one size. `group` is the number of which the discriminator's batch sizes
    must be a multiple."""

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
        """The names of the filters that set a bound on a score."""
        return [name for name in _NAMES[:2] if getattr(self.filters, name) is not None]

    def settle(self, sample: Callable[[], Sequence[Opinion]]) -> dict[str, float]:
        """The value of each bound. `sample` returns the opinions on the first candidates; it is called only
        if some bound is a share."""
        asked = {name: getattr(self.filters, name) for name in self.scored}
        first = sample() if any(least.is_share for least in asked.values()) else []
        return {name: _limit(least, [one.scores[name] for one in first]) for name, least in asked.items()}

    def refusal(self, opinion: Opinion) -> str | None:
        """The name of the filter that refuses the image; None if it is accepted."""
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
