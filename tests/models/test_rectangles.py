"""Images that are not square, and images with a fourth channel, in the families that take them."""

from __future__ import annotations

import pytest
import torch

from pipeline.config.families import AdaConfig
from pipeline.contracts import ImageSpec
from pipeline.errors import UserError
from pipeline.models.augment import Augment, color, geometry
from pipeline.models.augment.blit import Moves, draw_moves, move
from pipeline.models.augment.draws import Draws
from pipeline.models.augment.warp import Warp
from pipeline.models.sides import sides_of
from pipeline.randomness import SampleRandomness
from tests.tiny_families import seeded_networks, tiny_family

FAMILIES = ("began", "dcgan", "r3gan", "stylegan2")
KINDS = ("blit", "geometry", "color", "filter", "noise", "cutout")


@pytest.mark.parametrize(
    ("size", "start", "doublings"),
    [
        ((4, 4), (4, 4), 0),
        ((1024, 1024), (4, 4), 8),
        ((768, 1280), (6, 10), 7),
        ((256, 192), (8, 6), 5),
        ((384, 384), (6, 6), 6),
        ((8, 64), (4, 32), 1),
    ],
)
def test_sides_are_halved_equally_often_down_to_4_to_7_pixels(size, start, doublings):
    sides = sides_of(*size)
    assert (sides.start, sides.doublings, sides.begins) == (start, doublings, True)
    assert sides.at(doublings) == size


@pytest.mark.parametrize("size", [(300, 200), (22, 22), (3, 4), (9, 16), (1000, 1000)])
def test_sides_that_are_odd_too_early_do_not_begin(size):
    assert not sides_of(*size).begins


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(16, 24), (24, 20), (12, 12)])
@pytest.mark.parametrize("name", FAMILIES)
def test_networks_make_and_judge_images_of_any_proportions(name, size, channels):
    spec = ImageSpec(*size, channels)
    stages = sides_of(*size).doublings + 1
    widths = {"widths": (16, 8, 8)[:stages], "cardinalities": (4,) * stages, "blocks": (1,) * stages}
    family = tiny_family(name, spec, **(widths if name == "r3gan" else {}))
    networks = seeded_networks(family)
    for network in (networks.generator, networks.discriminator):
        for parameter in network.parameters():
            parameter.data.add_(torch.randn_like(parameter) * 0.01)  # off the zeros that stop gradients
    game = family.game(networks, family.schedule.at(0), SampleRandomness(range(4)))
    fakes = game.generate(4)
    assert fakes.images.shape == (4, channels, *size)
    game.judge(fakes.images, None).logits.sum().backward()
    for network in (networks.generator, networks.discriminator):
        for key, parameter in network.named_parameters():
            assert parameter.grad is not None, key


@pytest.mark.parametrize(
    ("name", "size"), [("stylegan2", (18, 36)), ("dcgan", (22, 22)), ("began", (22, 22)), ("r3gan", (9, 16))]
)
def test_others_are_refused_with_what_is_allowed(name, size):
    with pytest.raises(
        UserError, match=rf"{name} cannot make images of {size[0]}x{size[1]} .*allowed: .*192x256"
    ):
        tiny_family(name, ImageSpec(*size, 3))


def test_rectangles_are_turned_by_half_turns_alone_and_moved_exactly():
    x = torch.arange(2 * 6 * 10.0).view(1, 2, 6, 10)
    still, none = torch.tensor([1]), torch.zeros(1, 2, dtype=torch.long)
    assert torch.equal(move(x, Moves(-still, 0 * still, none)), x.flip(3))
    assert torch.equal(move(x, Moves(still, 2 * still, none)), x.flip(2, 3))
    shifted = move(x, Moves(still, 0 * still, torch.tensor([[3, -2]])))
    assert torch.equal(shifted[..., :4, 3:], x[..., 2:, :7])
    drawn = draw_moves(Draws(SampleRandomness(range(2000)), torch.tensor(1.0), 7, 0), (64, 640))
    assert set(drawn.turns.tolist()) == {0, 2}
    assert drawn.shift[:, 0].abs().max() > 64 > 8 >= drawn.shift[:, 1].abs().max()


def test_a_warp_of_a_rectangle_is_that_of_its_transpose_across():
    x = torch.randn(3, 2, 12, 20, generator=torch.Generator().manual_seed(0))
    linear = torch.eye(2) + 0.2 * torch.randn(3, 2, 2, generator=torch.Generator().manual_seed(1))
    offset = torch.tensor([[2.0, -1.0], [0.5, 3.0], [-4.0, 0.25]])
    warp = Warp()
    there = warp(x, geometry.Affine(linear, offset))
    swap = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    across = warp(x.mT.contiguous(), geometry.Affine(swap @ linear @ swap, offset.flip(1)))
    torch.testing.assert_close(there, across.mT, rtol=0, atol=2e-5)
    identity = geometry.Affine(torch.eye(2).repeat(3, 1, 1), torch.zeros(3, 2))
    torch.testing.assert_close(warp(x, identity), x, rtol=0, atol=2e-5)


def test_a_warp_shifts_whole_pixels_as_a_roll_does_inside():
    x = torch.randn(1, 1, 40, 64, generator=torch.Generator().manual_seed(0))
    shift = geometry.Affine(
        torch.eye(2)[None], torch.tensor([[5.0, -3.0]])
    )  # the source lies to the right, above
    shown = Warp()(x, shift)
    torch.testing.assert_close(shown[..., 10:30, 10:50], x[..., 7:27, 15:55], rtol=0, atol=1e-4)


def test_the_pipe_takes_rectangles_and_leaves_them_at_p_0():
    pipe = Augment(AdaConfig(mode="fixed", kinds=KINDS), (16, 24), 4)
    x = torch.randn(4, 4, 16, 24, requires_grad=True)
    assert torch.equal(pipe(x, SampleRandomness(range(4)), torch.tensor(0.0)), x)
    shown = pipe(x, SampleRandomness(range(4)), torch.tensor(1.0))
    (gradient,) = torch.autograd.grad(shown.square().sum(), x)
    assert shown.shape == x.shape
    assert gradient.abs().sum() > 0


def test_colours_change_and_opacity_stays():
    x = torch.randn(5, 4, 6, 6)
    colors = color.draw_colors(Draws(SampleRandomness(range(5)), torch.tensor(1.0), 7, 3))
    changed = color.recolor(x, colors)
    assert torch.equal(changed[:, 3], x[:, 3])
    assert torch.equal(changed[:, :3], color.recolor(x[:, :3], colors))


def test_metrics_see_transparent_parts_over_white():
    from pipeline.evaluation.features.extractor import as_rgb

    pixels = torch.tensor([[10, 100, 200, 255], [10, 100, 200, 0], [10, 100, 200, 51]], dtype=torch.uint8)
    shown = as_rgb(pixels[:, :, None, None])[:, :, 0, 0]
    assert shown.tolist() == [[10, 100, 200], [255, 255, 255], [206, 224, 244]]
    assert as_rgb(pixels[:, :, None, None].float()).dtype == torch.float32
