"""The alignment of GAT's discriminator with its teacher, and the teacher against torch's own layers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pipeline.contracts import IN_PIXELS, MOMENTS, Batch, Field, ImageSpec
from pipeline.dinov2 import GRID, SIDE
from pipeline.errors import UserError
from pipeline.models.gat.alignment import Alignment, resized
from pipeline.models.gat.teacher import as_imagenet, teacher_of
from pipeline.randomness import SampleRandomness
from tests.models.test_gat_family import digits, played
from tests.test_dinov2 import dinov2_tensors
from tests.tiny_families import BATCH, seeded_networks, tiny_family


class TinyTeacher(nn.Module):
    """Tokens that depend on the image, in the teacher's place."""

    def __init__(self):
        super().__init__()
        self.calls = 0
        self.mix = nn.Linear(3, 5)

    def forward(self, images, *, dtype=torch.float32):
        self.calls += 1
        tokens = F.avg_pool2d(images, SIDE // GRID).flatten(2).mT
        return self.mix(torch.cat([tokens.mean(1, keepdim=True), tokens], dim=1))


def aligned(**changes):
    family, networks, _ = played(alignment_weight=2.0, alignment_features=5, **changes)
    torch.manual_seed(8)
    family.fixtures = {"teacher": TinyTeacher()}
    reals = digits()
    return (
        family,
        networks,
        reals,
        family.game(networks, family.schedule.at(0), SampleRandomness(range(8)), reals),
    )


def test_the_alignment_adds_the_cosine_distances_of_class_and_other_tokens():
    family, networks, reals, game = aligned(diffaugment=(), flip_p=0.0, r1_gamma=0, r2_gamma=0)
    features = []
    networks.discriminator.aligner.register_forward_hook(
        lambda _, __, output: features.append(output.detach())
    )
    (turn,) = (phase.objective for phase in family.phases if phase.trains == "discriminator")
    terms = turn(game, reals)
    (ours,) = features  # of the reals alone
    wanted = family.fixtures["teacher"](as_imagenet(reals.images))
    assert wanted.shape == (BATCH, 1 + GRID**2, 5)
    maps = wanted[:, 1:].mT.reshape(BATCH, 5, GRID, GRID)
    maps = F.interpolate(maps, size=(4, 4), mode="bicubic").flatten(2).mT
    unit = [F.normalize(x, dim=-1) for x in (ours[:, :1], wanted[:, :1], ours[:, 1:], maps)]
    of_class, of_tokens = ((1 - (a * b).sum(-1)).mean(1) for a, b in (unit[:2], unit[2:]))
    torch.testing.assert_close(terms.stats["alignment/class"], of_class.mean(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(terms.stats["alignment/tokens"], of_tokens.mean(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        terms.loss.mean() - terms.stats["loss/discriminator"],
        2 * (of_class + of_tokens).mean(),
        rtol=1e-4,
        atol=1e-5,
    )


def test_the_teacher_works_once_a_step_and_the_whole_discriminator_learns():
    family, networks, reals, game = aligned()
    phases = {phase.trains: phase for phase in family.phases}
    for parameter in networks.discriminator.parameters():
        parameter.requires_grad_(False)
    phases["generator"].objective(game, reals)
    assert family.fixtures["teacher"].calls == 0
    for parameter in networks.discriminator.parameters():
        parameter.requires_grad_(True)
    phases["discriminator"].objective(game, reals).loss.mean().backward()
    assert family.fixtures["teacher"].calls == 1
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in networks.discriminator.parameters())


@pytest.mark.parametrize(
    ("how", "right", "down"), [("shared", (28, -28, 0), (0, 28, -28)), ("published", (1, 0, 0), (0, 1, 0))]
)
def test_the_teacher_s_image_moves_along(how, right, down):
    """As far as the discriminator's does or, as in the authors' code, by whole parts of 32/224 of it: an
    image moved by t there is moved by floor(t * 32 / 224) to the left."""
    family = tiny_family("gat", ImageSpec(32, 32, 1, 10))
    game = family.game(seeded_networks(family), family.schedule.at(0), SampleRandomness(range(3)))
    drawn = game.draw_augmentation(3).drawn
    shift = torch.tensor([[4, 0], [-4, 4], [0, -4]])
    drawn = replace(drawn, shift=shift, flip=torch.tensor([False, False, True]))
    image = torch.zeros(3, 3, SIDE, SIDE)
    image[:, :, 100, 60] = 1
    moved = Alignment(image, TinyTeacher(), how, family.shape)._moved(image, drawn)
    for i in range(3):
        (place,) = moved[i, 0].nonzero().tolist()
        column = 60 if i < 2 else SIDE - 1 - 60
        assert place == [100 + down[i], column + right[i]]


def test_teachers_that_do_not_fit_are_told_in_a_line():
    tensors = dinov2_tensors()
    without = {name: value for name, value in tensors.items() if name != "blocks.1.mlp.fc2.bias"}
    with pytest.raises(
        UserError, match=r"fixtures\.teacher: not .* its blocks\.1\.mlp\.fc2\.bias is missing"
    ):
        teacher_of(without)
    with pytest.raises(UserError, match="it has no cls_token"):
        teacher_of({"weight": torch.zeros(3)})
    with pytest.raises(UserError, match="its pos_embed has 7 tokens"):
        teacher_of({**tensors, "pos_embed": torch.zeros(1, 7, 64)})
    family = tiny_family("gat", alignment_weight=1.0)
    with pytest.raises(UserError, match=r"fixtures\.teacher: its tokens have 64 features; allowed: 768"):
        family.needs.fixtures["teacher"](tensors)
    with pytest.raises(UserError, match=r"family\.alignment_weight=1\.0: the teacher sees images of 1 or 3"):
        tiny_family("gat", ImageSpec(8, 8, 4, 10), alignment_weight=1.0)
    assert not tiny_family("gat").needs.fixtures


def test_images_reach_the_teacher_as_imagenet_s():
    images = torch.full((2, 1, 8, 8), 0.5)
    expected = [(0.75 - mean) / std for mean, std in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))]
    for channel, value in enumerate(expected):
        seen = as_imagenet(images)[:, channel]
        assert seen.shape == (2, SIDE, SIDE)
        torch.testing.assert_close(seen, torch.full_like(seen, value))
    tokens = torch.randn(2, GRID**2, 5)
    assert resized(tokens, (GRID, GRID)) is tokens


def test_in_latents_the_teacher_sees_the_images():
    moments = Field(MOMENTS, "array", (8, 4, 4), "float16")
    spec = ImageSpec(8, 8, 3, 10, fields=(moments,))
    family = tiny_family("gat", spec, codec={"kind": "kl"}, alignment_weight=1.0, alignment_features=5)
    assert family.shape.level_shapes == ((4, 4, 4),) * 4
    assert family.needs.fields == (MOMENTS,)
    assert sorted(family.needs.fixtures) == ["codec", "teacher"]
    assert family.needs.sampling == ("codec",)
    family.fixtures = {"teacher": TinyTeacher()}
    networks, chance = seeded_networks(family), SampleRandomness(range(BATCH))
    pixels, latents = torch.rand(BATCH, 3, 8, 8), torch.randn(BATCH, 4, 4, 4)
    reals = Batch(latents, torch.arange(BATCH), {IN_PIXELS: pixels})
    game = family.game(networks, family.schedule.at(0), chance, reals)
    assert game.alignment.pixels is pixels
    terms = family.phases[0].objective(game, reals)
    assert 0 < terms.stats["alignment/tokens"] < 2
    assert game.generate(2).images.shape == (2, 4, 4, 4)
