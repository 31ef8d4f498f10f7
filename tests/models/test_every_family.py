"""What holds for every family: gradients reach every parameter, a restart is bitwise, numbers depend on
samples alone."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import get_args

import pytest
import torch

from pipeline.contracts import Family, Game, ImageSpec, Net, Networks
from pipeline.errors import UserError
from pipeline.evaluation.plan import SEED_STRIDE
from pipeline.models.layers import recompute_blocks
from pipeline.models.registry import FAMILIES
from pipeline.randomness import SampleRandomness
from pipeline.training.state import put_back, take
from tests.tiny_families import (
    ALONE,
    BATCH,
    DIGITS,
    GIVEN,
    LABELLED,
    PLAIN,
    TINY,
    WITHOUT_CLASSES,
    DigitStream,
    seeded_networks,
    tiny_config,
    tiny_family,
    tiny_game,
    tiny_sampler,
    tiny_trainer,
)

EVERY = sorted(FAMILIES)
WITHOUT_BLOCKS = ("autoencoder", "dcgan", "graf", "mlp", *GIVEN)
"""In both networks, or in the discriminator."""
ADAPTIVE = ("stylegan2", "stylegan3")
"""Families with adaptive augmentation."""
each_family = pytest.mark.parametrize("name", EVERY)
each_family_and_spec = pytest.mark.parametrize(
    ("name", "spec"),
    [
        pytest.param(name, spec, id=f"{name}-{'classes' if spec.classes else 'plain'}")
        for name in EVERY
        for spec in (DIGITS, PLAIN)
        if spec.classes or name not in LABELLED
    ],
)
CLASSES = sorted(set(EVERY) - set(WITHOUT_CLASSES) - set(GIVEN))
JUDGED = sorted(set(EVERY) - set(ALONE))
JUDGED_CLASSES = sorted(set(CLASSES) & set(JUDGED))
each_with_classes = pytest.mark.parametrize("name", CLASSES)
each_judged = pytest.mark.parametrize("name", JUDGED)
each_judged_with_classes = pytest.mark.parametrize("name", JUDGED_CLASSES)


def late(family: Family) -> int:
    """A position at which everything has grown."""
    return 10**9


def busiest(family: Family) -> int:
    """A position at which every parameter takes part: while the last level fades in, if levels do."""
    grown = family.schedule.at(late(family))
    for position in range(0, 1000, 2):
        stage = family.schedule.at(position)
        if stage.fade < 1 and stage.resolution == grown.resolution:
            return position
    return late(family)


@torch.no_grad()
def stir(networks: Networks) -> None:
    """Moves every parameter off its start: a layer that starts at zero lets no gradient through yet."""
    for network in (networks.generator, networks.discriminator):
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.01)


def test_every_registered_family_is_tested():
    assert sorted(TINY) == EVERY


@each_family_and_spec
def test_gradients_reach_every_parameter(name, spec):
    family = tiny_family(name, spec)
    networks = seeded_networks(family)
    stir(networks)
    (reals,) = DigitStream(spec).draw(BATCH)
    game = tiny_game(family, networks, images_seen=busiest(family))
    reached: dict[Net, set[str]] = {"generator": set(), "discriminator": set()}
    for phase in family.phases:
        terms = phase.objective(game, game.present(reals))
        assert terms.loss.shape[0] in (BATCH, BATCH // 2)
        assert terms.loss.ndim == 1
        assert torch.isfinite(terms.loss).all()
        named = dict(networks[phase.trains].named_parameters())
        grads = torch.autograd.grad(terms.loss.mean(), list(named.values()), allow_unused=True)
        reached[phase.trains] |= {
            key for key, grad in zip(named, grads, strict=True) if grad is not None and grad.abs().max() > 0
        }
        assert all(not value.requires_grad for value in terms.stats.values())
    for net, module in networks.items():
        assert {key for key, _ in module.named_parameters()} - reached[net] == set()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (name, kind)
        for name in JUDGED_CLASSES
        for kind in get_args(type(tiny_config(name)).model_fields["conditioning"].annotation)
    ],
)
def test_each_conditioning_tells_classes_apart(name, kind):
    """Projection and embedding judge an image by its label; a classifier judges the label by the image."""
    family = tiny_family(name, conditioning=kind)
    networks = seeded_networks(family)
    networks.discriminator.eval()  # a pass in training may move what the next one uses
    (reals,) = DigitStream().draw(BATCH)
    game, same = (tiny_game(family, networks, images_seen=late(family)) for _ in range(2))
    verdict = game.judge(reals.images, reals.labels, exact=True)
    other = same.judge(reals.images, (reals.labels + 1) % 10, exact=True)  # augmented in the same way
    assert verdict.logits.shape == (BATCH,)
    if kind == "classifier":
        assert verdict.classes.shape == (BATCH, 10)
        assert torch.equal(verdict.logits, other.logits)
        turns = [p for p in family.phases if p.name in ("generator", "discriminator")]
        assert all("classified/fake" in p.objective(game, reals).stats for p in turns)
    else:
        assert verdict.classes is None
        assert not torch.equal(verdict.logits, other.logits)


@each_family_and_spec
def test_a_restart_is_bitwise(name, spec):
    straight = tiny_trainer(tiny_family(name, spec))
    for _ in range(3):
        straight.step()
    saved = copy.deepcopy(take(straight))
    for _ in range(3):
        straight.step()
    resumed = tiny_trainer(tiny_family(name, spec))
    put_back(resumed, saved)
    resumed.stream = DigitStream(resumed.family.spec, resumed.progress.images_seen)
    for _ in range(3):
        resumed.step()
    ours, theirs = take(resumed), take(straight)
    for group, tensors in theirs.items():
        assert ours[group].keys() == tensors.keys()
        for key, value in tensors.items():
            assert torch.equal(ours[group][key], value), f"{group}: {key}"


@each_family
def test_computing_blocks_again_changes_no_bit(name):
    """With buffers that a forward pass moves, repeats, penalties and micro-batches."""
    results = []
    for again in (False, True):
        trainer = tiny_trainer(tiny_family(name), micro=BATCH // 2)
        if again:
            parts = [recompute_blocks(trainer.networks[net]) for net in ("generator", "discriminator")]
            assert all(parts) or name in (*WITHOUT_BLOCKS, *ALONE)
        for _ in range(3):
            trainer.step()
        results.append(take(trainer))
    for group, tensors in results[0].items():
        for key, value in tensors.items():
            assert torch.equal(results[1][group][key], value), f"{group}: {key}"


@each_family_and_spec
def test_an_image_depends_on_its_seed_and_class_alone(name, spec):
    family = tiny_family(name, spec)
    generator = seeded_networks(family).generator.eval()
    sampler = tiny_sampler(family, generator)
    together = sampler.draw([5, 6, 7])
    assert together.images.shape == (3, spec.channels, spec.height, spec.width)
    assert together.images.dtype == torch.float32
    alone = [sampler.draw([seed]).images for seed in (5, 6, 7)]
    assert torch.equal(torch.cat(alone), together.images)
    assert not torch.equal(together.images[0], together.images[1])
    if family.spec.classes:
        chosen = sampler.draw([5, 6], classes=[2, 0])
        assert chosen.labels.tolist() == [2, 0]
        assert not torch.equal(chosen.images[:1], sampler.draw([5], classes=[3]).images)
        with pytest.raises(UserError, match=r"no class 10; allowed: 0 to 9"):
            sampler.draw([1], classes=[10])
    else:
        with pytest.raises(UserError, match="trained without labels"):
            sampler.draw([1], classes=[0])


@each_judged_with_classes
def test_seeds_that_differ_in_high_bits_alone_are_other_images(name):
    """As those of one set of evaluated fakes and the next are; and their paths' ends."""
    sampler = tiny_family(name).sampler(seeded_networks(tiny_family(name)).generator.eval())
    seeds = [number + SEED_STRIDE * place for place in range(3) for number in (0, 5)]
    images = sampler.draw(seeds, classes=[3] * 6).images
    assert len({image.numpy().tobytes() for image in images}) == 6
    z, labels = sampler.latents([SEED_STRIDE * place for place in range(40)])
    assert len(set(labels.tolist())) > 3
    assert len({latent.numpy().tobytes() for latent in z}) == 40


def joined(seen: torch.Tensor | Sequence[torch.Tensor]) -> torch.Tensor:
    """What a discriminator sees, of one level or several, as one tensor."""
    levels = [seen] if isinstance(seen, torch.Tensor) else seen
    return torch.cat([level.detach() for level in levels], dim=1)


@each_judged
def test_a_sample_has_the_same_latents_and_augmentation_in_any_split(name):
    """Micro-batches hold every second sample."""
    changes = {"ada": {"mode": "fixed", "p": 0.7}} if name in ADAPTIVE else {}
    family = tiny_family(name, **changes)
    networks = seeded_networks(family)
    (batch,) = DigitStream(replace(family.spec, classes=0)).draw(BATCH)
    images = batch.images
    shown: list[torch.Tensor] = []
    networks.discriminator.register_forward_pre_hook(lambda _, inputs: shown.append(joined(inputs[0])))

    def play(samples: range) -> list[torch.Tensor]:
        reals = batch.map(lambda x: x[samples.start :: samples.step])
        game = family.game(networks, family.schedule.at(late(family)), SampleRandomness(samples), reals)
        fakes = game.generate(len(samples))
        game.judge(reals.images, fakes.labels)
        labels = torch.zeros(len(samples)) if fakes.labels is None else fakes.labels
        return [fakes.latents.detach(), labels, shown.pop()]

    whole = play(range(BATCH))
    split = zip(play(range(0, BATCH, 2)), play(range(1, BATCH, 2)), strict=True)
    for together, (even, odd) in zip(whole, split, strict=True):
        torch.testing.assert_close(torch.stack([even, odd], dim=1).flatten(0, 1), together)
    if name in (*ADAPTIVE, "r3gan", "gat"):
        assert not torch.equal(whole[-1], images)  # as it is augmented


@each_with_classes
def test_the_asked_for_class_is_generated_and_judged(name):
    family = tiny_family(name)
    networks = seeded_networks(family)
    game = tiny_game(family, networks, images_seen=late(family))
    labels = torch.arange(BATCH) % 10
    fakes = game.generate(BATCH, labels)
    assert torch.equal(fakes.labels, labels)
    others = tiny_game(family, networks, images_seen=late(family)).generate(BATCH, (labels + 1) % 10)
    assert not torch.equal(fakes.images, others.images)


class Watched:
    """A game that notes the labels of its fakes."""

    def __init__(self, game: Game) -> None:
        self.game, self.labels = game, []

    def __getattr__(self, name):
        return getattr(self.game, name)

    def generate(self, count, labels=None, *, exact=False):
        fakes = self.game.generate(count, labels, exact=exact)
        self.labels.append(fakes.labels)
        return fakes


@each_judged
def test_classes_of_fakes_are_as_frequent_as_in_the_data(name):
    """Every phase's fakes have the labels of the reals it was given, whose classes may be unbalanced."""
    family = tiny_family(name)
    networks = seeded_networks(family)
    (digits,) = DigitStream(family.spec).draw(BATCH)
    reals = replace(digits, labels=torch.tensor([3, 3, 3, 7, 3, 3, 3, 3]))
    seen = set()
    for phase in family.phases:
        game = Watched(tiny_game(family, networks, images_seen=late(family)))
        phase.objective(game, game.present(reals))
        for labels in game.labels:
            assert torch.equal(labels, reals.labels[: len(labels)]), phase.name
            seen.add(phase.trains)
    assert seen == {"generator", "discriminator"}


@each_family
def test_a_step_that_is_not_finite_moves_no_memory(name):
    trainer = tiny_trainer(tiny_family(name))
    trainer.step()
    before = copy.deepcopy(dict(trainer.family.memory.state_dict()))
    trainer.stream.images = trainer.stream.images * float("nan")
    trainer.step()
    for key, value in trainer.family.memory.state_dict().items():
        assert torch.isfinite(value.float()).all(), key
    assert before.keys() == trainer.family.memory.state_dict().keys()


@pytest.mark.parametrize("name", ["biggan", "progan", "stylegan3"])
def test_images_that_are_not_square_are_refused_by_that_word(name):
    """Those that take them: test_rectangles.py."""
    with pytest.raises(
        UserError, match=rf"^{name} needs square images.* not 16x8; prepare the data with --res"
    ):
        tiny_family(name, ImageSpec(8, 16, 3))


@each_judged_with_classes
def test_the_generator_has_reals_of_its_own_where_the_discriminator_has_just_fitted_them(name):
    """Huang et al. 2024 compare its fakes with others; GAT's authors with the same. No other family's data
    move."""
    for loss in ("relativistic", "non_saturating"):
        phases = {phase.name: phase for phase in tiny_family(name, loss=loss).phases}
        order = list(phases)
        after = order.index("generator") > order.index("discriminator") and name != "gat"
        assert phases.pop("generator").own_reals == (loss == "relativistic" and after)
        assert not any(phase.own_reals for phase in phases.values())


@each_family
@pytest.mark.parametrize("spec", [ImageSpec(8, 12, 3), ImageSpec(8, 8, 2)], ids=["oblong", "two channels"])
def test_images_it_cannot_make_are_refused_in_a_line(name, spec):
    """Or made: a family may be more general than others."""
    with suppress(UserError):
        family = tiny_family(name, spec)
        images = tiny_sampler(family, seeded_networks(family).generator.eval()).draw([1]).images
        assert images.shape == (1, spec.channels, spec.height, spec.width)
