"""What scenes add to a GAN: layouts of objects, objects that are judged, and the terms of the two turns."""

from __future__ import annotations

from dataclasses import fields, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from launch.assembly.dataset import check_needs
from pipeline.config.load import load_config
from pipeline.config.shipped import shipped
from pipeline.contracts import Batch, Field
from pipeline.errors import UserError
from pipeline.models.registry import build_family
from pipeline.models.sg2im.layout import overlap, put
from pipeline.models.sg2im.networks import CLASSES, Discriminator, Halvings, least_halved_side
from pipeline.models.sg2im.scene import Scene, framed, scene_of
from pipeline.models.sg2im.turns import BoxErrors
from pipeline.randomness import seed_everything
from tests.tiny_families import (
    BATCH,
    FIELDS,
    PLAIN,
    DigitStream,
    seeded_networks,
    tiny_config,
    tiny_family,
    tiny_game,
    tiny_sampler,
    tiny_trainer,
)

NAME = "sg2im"


def digits(family) -> Batch:
    return DigitStream(family.spec).draw(BATCH)[0]


def turn(family, net: str):
    return next(phase.objective for phase in family.phases if phase.name == net)


def test_padding_changes_neither_image_nor_verdict_nor_loss():
    """With as many places and relations again, all empty."""
    family = tiny_family(NAME, PLAIN)
    networks, reals = seeded_networks(family), digits(family)
    padded = {name: torch.cat([x, torch.zeros_like(x)], dim=1) for name, x in reals.extra.items()}

    def played(batch: Batch, net: str):
        game = family.game(networks, family.schedule.at(0), tiny_game(family, networks).randomness, batch)
        return turn(family, net)(game, batch).loss

    for net in ("generator", "discriminator"):
        torch.testing.assert_close(
            played(replace(reals, extra=padded), net), played(reals, net), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_least_side_is_the_least_that_leaves_a_pixel(layers):
    network = Halvings(1, 2, layers)
    least = least_halved_side(layers)
    convs = nn.Sequential(*network.convs)
    assert convs(torch.zeros(1, 1, least, least)).shape[2:] == (1, 1)
    with pytest.raises(RuntimeError):
        convs(torch.zeros(1, 1, least - 1, least))


def test_the_layout_is_the_sum_of_vectors_in_their_masks():
    family = tiny_family(NAME, PLAIN)
    generator, extra = seeded_networks(family).generator, digits(family).extra
    scene, boxes = scene_of(extra, 11, 2), framed(extra["boxes"])
    vectors = generator.graph(scene)
    got = generator.layout(vectors, scene, boxes)
    assert 0 < (scene.present[:, 1] == 0).sum() < BATCH
    for row in range(BATCH):
        expected = torch.zeros(6, 8, 8)
        for place in torch.nonzero(scene.present[row])[:, 0]:
            mask = generator.masks(vectors[row, place][None])[None]
            expected += (
                vectors[row, place][:, None, None] * put(mask, boxes[row, place][None, None], (8, 8))[0]
            )
        torch.testing.assert_close(got[row], expected, rtol=1e-4, atol=1e-5)


def test_the_overlap_of_a_batch_is_the_mean_of_its_parts():
    """Also where one part has more objects than the other, so that any number of ranks shows the same."""
    family = tiny_family(NAME, PLAIN)
    extra, predicted = digits(family).extra, torch.rand(BATCH, 4, 2, 2).sort(dim=2).values.flatten(2)
    scene, boxes = scene_of(extra, 11, 2), framed(extra["boxes"])
    order = scene.present.sum(dim=1).argsort()

    def shown(rows: torch.Tensor) -> float:
        parts = (getattr(scene, field.name)[rows] for field in fields(scene))
        game = SimpleNamespace(scene=Scene(*parts), boxes=boxes[rows])
        play: Any = SimpleNamespace(game=game, fakes=SimpleNamespace(latents=predicted[rows]))
        return float(BoxErrors(1.0)(play).stats["boxes/overlap"])

    halves = [shown(rows) for rows in order.chunk(2)]
    assert scene.present[order[0]].sum() < scene.present[order[-1]].sum()
    assert shown(order) == pytest.approx(sum(halves) / 2)
    assert 0 < shown(order) < 1


def test_both_turns_are_what_the_paper_says():
    """Every image and every object by itself: adversarial losses of both, classes, boxes, pixels."""
    family = tiny_family(NAME, PLAIN, adversarial_weight=0.3, class_weight=0.7, box_weight=5.0,
        distance_weight=2.0)  # fmt: skip
    networks, reals = seeded_networks(family), digits(family)
    game = tiny_game(family, networks)
    fakes = game.generate(BATCH)
    scene, boxes = game.scene, framed(reals.extra["boxes"])

    def judged(images):
        return networks.discriminator(images, torch.cat([boxes, scene.present[..., None]], dim=2))

    def over_objects(verdict, sign):
        adversarial, classes = torch.zeros(BATCH), torch.zeros(BATCH)
        for row in range(BATCH):
            there = torch.nonzero(scene.present[row])[:, 0]
            adversarial[row] = F.softplus(sign * verdict.heads[1][row, there]).mean()
            classes[row] = F.cross_entropy(verdict.extra[CLASSES][row, there], scene.objects[row, there])
        return adversarial + F.softplus(sign * verdict.heads[0]).mean(1), classes

    fake, real = judged(fakes.images), judged(reals.images)
    adversarial, classes = over_objects(fake, -1)
    errors = torch.stack([
        (fakes.latents[row] - boxes[row])[scene.present[row] > 0].square().mean() for row in range(BATCH)
    ])  # fmt: skip
    distance = (fakes.images - reals.images).abs().flatten(1).mean(1)
    expected = 0.3 * adversarial + 0.7 * classes + 5 * errors + 2 * distance
    terms = turn(family, "generator")(tiny_game(family, networks), reals)
    torch.testing.assert_close(terms.loss, expected, rtol=1e-4, atol=1e-5)

    (of_fakes, first), (of_reals, second) = over_objects(fake, 1), over_objects(real, -1)
    terms = turn(family, "discriminator")(tiny_game(family, networks), reals)
    torch.testing.assert_close(terms.loss, of_fakes + of_reals + first + second, rtol=1e-4, atol=1e-5)


def test_images_are_drawn_with_the_boxes_that_the_configuration_says():
    drawn = {}
    for boxes in ("predicted", "given"):
        family = tiny_family(NAME, PLAIN, sampled_boxes=boxes)
        sampler = tiny_sampler(family, seeded_networks(family).generator.eval())
        given = digits(family).map(lambda tensor: tensor[:3])
        moved = replace(given, extra={**given.extra, "boxes": given.extra["boxes"] / 2})
        fakes = sampler.draw_given(given, [5, 6, 5])
        drawn[boxes] = fakes.images
        assert torch.equal(sampler.draw_given(moved, [5, 6, 5]).images, fakes.images) == (
            boxes == "predicted"
        )
        assert ("boxes" in sampler.fields) == (boxes == "given")
        assert fakes.latents.shape == (3, 4, 4)
    assert not torch.equal(fakes.images[0], fakes.images[2])  # the same seed, another scene
    assert not torch.equal(drawn["predicted"], drawn["given"])


def test_objects_that_are_not_there_have_no_logit():
    seed_everything(4)
    net = Discriminator(tiny_config(NAME), 1)
    told = torch.rand(2, 3, 5)
    told[0, 1, 4], told[:, [0, 2], 4], told[1, 1, 4] = 0, 1, 1
    logits = net(torch.randn(2, 1, 8, 8), told).heads[1]
    assert (logits == 0).tolist() == [[False, True, False], [False] * 3]


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("objects", 12, "family.objects=11: the data's field objects has the code 12; allowed: 0 to 11"),
        ("objects", -1, "family.objects=11: the data's field objects has the code -1"),
        ("triples", 3, "family.relations=2: the data's field triples has the code 3; allowed: 0 to 2"),
    ],
)
def test_a_code_beyond_the_vocabulary_is_a_line(name, code, message):
    family = tiny_family(NAME, PLAIN)
    sampler, reals = family.sampler(seeded_networks(family).generator.eval()), digits(family)
    wrong = {key: value.clone() for key, value in reals.extra.items()}
    wrong[name].view(BATCH, -1)[2, 1 if name == "triples" else 0] = code
    with pytest.raises(UserError, match=message):
        sampler.draw_given(replace(reals, extra=wrong), range(BATCH))


def test_mirrored_images_are_refused():
    family = tiny_family(NAME, PLAIN)
    config = load_config(shipped("sg2im-32"), ["data.path=shards"])
    check_needs(config, family)
    config = load_config(shipped("sg2im-32"), ["data.path=shards", "data.mirror=true"])
    with pytest.raises(UserError, match=r"data\.mirror=true: family sg2im learns where .*allowed: false"):
        check_needs(config, family)


def changed(name: str, **changes) -> tuple[Field, ...]:
    return tuple(replace(each, **changes) if each.name == name else each for each in FIELDS[NAME])


REFUSED = {
    "no scenes": ({"fields": ()}, {}, "needs the fields objects, boxes, triples; .* lack objects, .* none"),
    "no boxes": (
        {"fields": tuple(each for each in FIELDS[NAME] if each.name != "boxes")}, {},
        "the data's samples lack boxes; there are objects, triples",
    ),
    "a text": (
        {"fields": changed("triples", kind="text", shape=(9,))}, {},
        r"needs a field triples of kind array and shape \[any, 3\]; the data's is text of \[9\]",
    ),
    "boxes of others": ({"fields": changed("boxes", shape=(4, 4))}, {}, "boxes for 4 objects beside 3"),
    "odd sides": (
        {"height": 9, "fields": FIELDS[NAME]}, {}, "2 modules cannot make images of 9x8 .* multiples of 2",
    ),
    "small objects": (
        {"fields": FIELDS[NAME]}, {"crop_side": 3}, r"3 pixels \(family.crop_side\) are too small; .* 4 p",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_it_cannot_use_is_refused_in_a_line(case):
    spec, changes, message = REFUSED[case]
    with pytest.raises(UserError, match=message):
        build_family(tiny_config(NAME, **changes), replace(PLAIN, **spec), batch_size=BATCH)


@pytest.mark.parametrize("changes", [{"mask_side": 6}, {"mask_side": 1}, {"orthogonal_weight": 1}])
def test_a_setting_that_means_nothing_is_refused(changes):
    with pytest.raises(ValueError, match="allowed"):
        tiny_config(NAME, **changes)


def test_it_learns_boxes_and_to_draw_what_is_in_them():
    """Of digits 0 and 1, against the untrained generator."""

    def figures(trainer) -> tuple[float, float]:
        stream = trainer.stream
        given = stream.batch(range(40))
        fakes = tiny_sampler(trainer.family, trainer.averager.average.eval()).draw_given(given, range(40))
        means = torch.stack([stream.images[stream.labels == label].mean(0) for label in (0, 1)])
        nearest = (fakes.images[:, None] - means).square().flatten(2).sum(2).argmin(1)
        hits = (nearest == stream.labels[:40]).float().mean()
        return float(overlap(fakes.latents[:, 0], given.extra["boxes"][:, 0]).mean()), float(hits)

    family = tiny_family(NAME, PLAIN, generator_rate=0.01, discriminator_rate=0.002, r1_gamma=0.0,
        adversarial_weight=0.01, ema_half_life_images=60, batch_norm_group=4, embedding_dim=12,
        graph_width=24, refinement_channels=[16, 8])  # fmt: skip
    trainer = tiny_trainer(family)
    stream = trainer.stream
    some = torch.nonzero(stream.labels < 2)[:, 0]
    stream.images, stream.labels = stream.images[some], stream.labels[some]
    before = figures(trainer)
    for _ in range(120):
        trainer.step()
    boxes, hits = figures(trainer)
    assert boxes > 0.7
    assert before[0] < 0.5
    assert hits > 0.9
    assert before[1] < 0.75
