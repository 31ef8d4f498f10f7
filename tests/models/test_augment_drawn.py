"""An augmentation drawn first: applied again it does the same, to whatever belongs to the batch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.families import AdaConfig, FewImages
from pipeline.contracts import AugmentedGame
from pipeline.models.augment import Augment, Chain, corruption
from pipeline.models.registry import FAMILIES
from pipeline.randomness import SampleRandomness
from tests.tiny_families import (
    ALONE,
    BATCH,
    GIVEN,
    PLAIN,
    DigitStream,
    seeded_networks,
    tiny_config,
    tiny_family,
    tiny_game,
)

KINDS = ("blit", "geometry", "color", "filter", "noise", "cutout")
N, SIDE = 4, 16
AUGMENTED = {
    "stylegan2": {"ada": {"mode": "fixed", "p": 0.8, "kinds": ["blit", "color", "noise"]}},
    "stylegan3": {"ada": {"mode": "fixed", "p": 0.8, "kinds": ["blit", "color", "noise"]}},
    "r3gan": {"augment_kinds": ["blit", "color", "cutout"], "augment_p": 0.8},
    "gat": {},
}

RETOUCHED = {"diffaugment": ["color", "translation", "cutout"]}
BARE = {
    "r3gan": {"augment_p_end": 0.0},
    "mlp": {"diffusion": {"mode": "off"}},
    "gat": {"diffaugment": [], "flip_p": 0.0},
    "stylegan3": {"blur_sigma": 0.0},
    "autoencoder": {},
    **{name: {} for name in GIVEN},
    "began": {},
}


def images(channels: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.rand(N, channels, SIDE, SIDE, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def streams() -> SampleRandomness:
    return SampleRandomness(range(N))


@settings(max_examples=25)
@given(st.sets(st.sampled_from(KINDS)), st.floats(0, 1), st.sampled_from([1, 3]))
def test_it_does_the_same_again_and_what_a_pass_that_draws_does(kinds, p, channels):
    pipe = Augment(AdaConfig(mode="fixed", kinds=tuple(sorted(kinds))), (SIDE, SIDE), channels)
    drawn, p = pipe.draw(streams(), torch.tensor(p)), torch.tensor(p)
    first = drawn(images(channels))
    assert torch.equal(drawn(images(channels)), first)
    assert torch.equal(pipe(images(channels), streams(), p), first)
    others = images(channels, seed=1)
    assert torch.equal(drawn(others), pipe(others, streams(), p))  # other images, the same numbers
    half = drawn(images(channels)[:, :, :, :].bfloat16())
    assert half.dtype == torch.float32


def test_a_mask_moves_with_its_image():
    drawn = Augment(
        AdaConfig(mode="fixed", kinds=("blit", "color", "filter", "noise")), (SIDE, SIDE), 3
    ).draw(streams(), torch.tensor(1.0))
    picture = images()
    shape = (picture[:, :1] > 0).long()
    assert torch.equal(drawn.moved(shape), (drawn.moved(picture)[:, :1] > 0).long())
    assert not torch.equal(drawn.moved(shape), shape)
    assert not torch.allclose(drawn(picture), drawn.moved(picture))  # colours are the picture's alone


def test_places_move_alike_in_any_number_of_channels():
    drawn = Augment(AdaConfig(mode="fixed", kinds=KINDS), (SIDE, SIDE), 3).draw(streams(), torch.tensor(1.0))
    many = torch.cat([images(), images(seed=1)], dim=1)
    torch.testing.assert_close(
        drawn.moved(many), torch.cat([drawn.moved(images()), drawn.moved(images(seed=1))], dim=1)
    )
    still = Augment(AdaConfig(mode="fixed", kinds=("color", "noise", "cutout")), (SIDE, SIDE), 3)
    assert torch.equal(still.draw(streams(), torch.tensor(1.0)).moved(many), many)


def test_a_chain_draws_all_before_it_shows_anything():
    parts = [
        Augment(AdaConfig(mode="fixed", kinds=kinds), (SIDE, SIDE), 3)
        for kinds in (("blit",), ("color", "noise"))
    ]
    randomness, p = streams(), torch.tensor(0.8)
    chain = Chain(tuple(part.draw(randomness, p) for part in parts))
    expected, fresh = images(), streams()
    for part in parts:
        expected = part(expected, fresh, p)
    assert torch.equal(chain(images()), expected)
    assert torch.equal(chain.moved(images()), parts[0](images(), streams(), p))
    picture = images()
    assert Chain()(picture) is picture
    assert Chain().moved(picture) is picture


@pytest.mark.parametrize("part", ["moves", "affine", "colors", "gains", "noise", "hole"])
def test_each_group_acts_beside_all_others(part):
    drawn = Augment(AdaConfig(mode="fixed", kinds=KINDS), (SIDE, SIDE), 3).draw(streams(), torch.tensor(1.0))
    changed = (drawn(images()) != replace(drawn, **{part: None})(images())).flatten(1).any(dim=1)
    assert changed.float().mean() >= 0.75  # half of the flips and turns are none


def test_the_hole_is_cut_last():
    """Nothing that comes before shows in it (Karras et al. 2020b, appendix B)."""
    drawn = Augment(AdaConfig(mode="fixed", kinds=KINDS), (SIDE, SIDE), 3).draw(streams(), torch.tensor(1.0))
    hidden = corruption.cut_out(torch.ones(N, 1, SIDE, SIDE), drawn.hole) == 0
    shown = drawn(images())
    assert (shown[hidden.expand_as(shown)] == 0).all()
    assert hidden.any()


# ---- games


@pytest.mark.parametrize(
    ("name", "augmented"),
    [
        (name, augmented)
        for name in sorted(set(FAMILIES) - set(ALONE))
        for augmented in (True, False)
        if not augmented or isinstance(tiny_config(name), FewImages)
    ],
)
def test_every_familys_game_judges_what_its_augmentation_shows(name, augmented):
    changes = AUGMENTED.get(name, RETOUCHED) if augmented else BARE.get(name, {"diffaugment": []})
    family = tiny_family(name, PLAIN, **changes)
    networks = seeded_networks(family)
    networks.discriminator.eval()
    stage_images = 10**9  # all has grown
    game, same = (tiny_game(family, networks, images_seen=stage_images) for _ in range(2))
    assert isinstance(game, AugmentedGame)
    (reals,) = DigitStream(PLAIN).draw(BATCH)
    shown = same.draw_augmentation(BATCH)(reals.images)
    assert torch.equal(game.judge(reals.images, None).logits, same.judge_shown(shown, None).logits)
    # What an image is made of may follow it.
    assert torch.equal(shown[:, :1], reals.images) == (not augmented)
    if augmented:  # each draw is another
        assert not torch.equal(same.draw_augmentation(BATCH)(reals.images), shown)
