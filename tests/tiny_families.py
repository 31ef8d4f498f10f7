"""The tiny families of `tools`, and a game to play with one."""

from __future__ import annotations

from pipeline.contracts import Family, Game, Networks
from pipeline.randomness import SampleRandomness
from tools.tiny_families import (
    BATCH,
    DIGITS,
    PLAIN,
    SIDE,
    TINY,
    DigitStream,
    seeded_networks,
    tiny_config,
    tiny_family,
    tiny_trainer,
)

__all__ = [
    "BATCH",
    "DIGITS",
    "PLAIN",
    "SIDE",
    "TINY",
    "DigitStream",
    "seeded_networks",
    "tiny_config",
    "tiny_family",
    "tiny_game",
    "tiny_trainer",
]


def tiny_game(family: Family, networks: Networks, count: int = BATCH, images_seen: int = 0) -> Game:
    randomness = SampleRandomness(range(count))
    return family.game(networks, family.schedule.at(images_seen), randomness)
