"""A judge that was drawn once judges the same samples again to the bit, whatever is random or moves."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial

import pytest
import torch

from pipeline.contracts import LevelledGame, ReplayedGame
from tests.game_toys import TOYS, toy_family
from tests.tiny_families import (
    ALONE,
    BATCH,
    PLAIN,
    TINY,
    DigitStream,
    seeded_networks,
    tiny_family,
    tiny_game,
)

AUGMENTED = {
    "stylegan2": {"ada": {"mode": "fixed", "p": 0.8, "kinds": ["blit", "color", "noise"]}},
    "r3gan": {"augment_kinds": ["blit", "color", "cutout"], "augment_p": 0.8},
}
CASES = {
    **{name: partial(tiny_family, name, PLAIN) for name in TINY if name not in ALONE},
    **{f"{name} augmented": partial(tiny_family, name, PLAIN, **how) for name, how in AUGMENTED.items()},
    **{f"toy {name}": partial(toy_family, name) for name in TOYS},
}
each_case = pytest.mark.parametrize("case", CASES)


def played(case):
    """Networks, games of theirs that draw the same numbers, and reals as they see them."""
    family = CASES[case]()
    networks = seeded_networks(family)
    game = tiny_game(family, networks)
    (reals,) = DigitStream(PLAIN).draw(BATCH, resolution=game.stage.resolution)
    return networks, lambda: tiny_game(family, networks), family.codec.encode(reals, game.randomness)


def seen_by(game, images):
    return game.levels(images) if isinstance(game, LevelledGame) else (images,)


def same_bits(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.heads, b.heads, strict=True))


@each_case
def test_the_same_samples_are_judged_to_the_bit_and_leave_no_trace(case):
    networks, games, reals = played(case)
    game = games()
    assert isinstance(game, ReplayedGame)
    seen = seen_by(game, reals.images)
    judge = game.draw_judge(BATCH)
    first = judge(seen, None)
    after = copy.deepcopy(networks.discriminator.state_dict())
    moved = judge([images + 0.1 for images in seen], None)
    assert same_bits(judge(seen, None), first)
    assert not same_bits(moved, first)
    for name, value in networks.discriminator.state_dict().items():
        assert torch.equal(value, after[name])


@each_case
def test_it_judges_as_the_game_does(case):
    networks, games, reals = played(case)
    before = copy.deepcopy(networks.discriminator.state_dict())
    expected = games().judge(reals.images, None)
    networks.discriminator.load_state_dict(before)
    game = games()
    assert same_bits(game.draw_judge(BATCH)(seen_by(game, reals.images), None), expected)
    with torch.no_grad():
        fakes = game.generate(BATCH)
    networks.discriminator.load_state_dict(before)
    both = games().judge_both(fakes, reals)
    networks.discriminator.load_state_dict(before)
    game = games()
    judges = game.draw_judge(BATCH), game.draw_judge(BATCH)
    by = game.judge_both_by(judges, fakes, reals)
    again = game.judge_both_by(judges, fakes, reals)
    brighter = replace(reals, images=reals.images + 0.1)
    moved = game.judge_both_by(judges, fakes, brighter)
    for i in (0, 1):
        assert same_bits(by[i], both[i])
        assert same_bits(again[i], both[i])
    assert not same_bits(moved[1], both[1])
    torch.testing.assert_close(moved[0].logits, both[0].logits, rtol=1e-4, atol=1e-5)
