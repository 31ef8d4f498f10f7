"""What texts add to a GAN: numbers of texts, wrong texts, texts between two, and the terms of the turns."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from pipeline.contracts import Batch, Field, ImageSpec
from pipeline.errors import UserError
from pipeline.models.registry import build_family
from pipeline.models.textgan.encoders import Hashed, Matcher, Reader, matching_loss
from pipeline.randomness import SampleRandomness, seed_everything
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

TEXTS = ("a face with red hair", "A FACE with red hair", "two red faces", "x", "naïve café", "")


def rows(texts, length: int = 32) -> torch.Tensor:
    return torch.tensor([list(text.encode().ljust(length, b"\0")) for text in texts], dtype=torch.uint8)


def digits(family) -> Batch:
    return DigitStream(family.spec).draw(BATCH)[0]


def turn(family, net: str):
    return next(phase.objective for phase in family.phases if phase.name == net)


def hashed_by_hand(text: str, dim: int, lengths) -> torch.Tensor:
    """Counts in plain integers."""
    data, counts = text.encode().lower(), [0.0] * dim
    for n in lengths:
        for start in range(len(data) - n + 1):
            value = n
            for byte in data[start : start + n]:
                value = (value * 1_000_003 + byte + 1) % (2**31 - 1)
            counts[value % dim] += 1.0 if value // dim % 2 else -1.0
    vector = torch.tensor(counts)
    return vector / vector.norm().clamp(min=1e-12) * dim**0.5


@pytest.mark.parametrize("lengths", [(3,), (1, 4)])
def test_hashed_texts_are_counts_of_runs_of_letters(lengths):
    got = Hashed(24, lengths)(rows(TEXTS))
    for text, vector in zip(TEXTS, got, strict=True):
        torch.testing.assert_close(vector, hashed_by_hand(text, 24, lengths))
    assert torch.equal(got[0], got[1])
    assert not torch.equal(got[0], got[2])


@pytest.mark.parametrize(
    "make", [lambda: Hashed(16, (2, 3)), lambda: Reader(16, 8)], ids=["hashed", "reader"]
)
def test_what_a_text_says_does_not_depend_on_its_padding(make):
    seed_everything(1)
    encoder = make()
    short, long = encoder(rows(TEXTS, 21)), encoder(rows(TEXTS, 40))
    torch.testing.assert_close(short, long)
    assert torch.isfinite(short).all()
    torch.testing.assert_close(short[0], short[1])  # capitals are small letters
    assert (short[0] - short[2]).abs().max() > 0.05
    norms = short[:3].norm(dim=1)
    torch.testing.assert_close(norms, torch.full_like(norms, 4.0))


def test_the_matching_loss_is_a_choice_within_each_group():
    seed_everything(2)
    matcher = Matcher(ImageSpec(8, 8, 1), 6, 4)
    images, texts = torch.randn(8, 6), torch.randn(8, 6)
    images, texts = (F.normalize(x, dim=1) * 6**0.5 for x in (images, texts))
    loss = matching_loss(matcher.products(images, texts, 4))
    heat, expected = 1 / 0.07, torch.zeros(8)
    for group in (0, 1):
        members = torch.arange(group, 8, 2)  # strided
        fits = F.cosine_similarity(images[members][:, None], texts[members][None], dim=2) * heat
        both = [F.cross_entropy(x, torch.arange(4), reduction="none") for x in (fits, fits.T)]
        expected[members] = sum(both) / 2
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("group", [2, 4])
def test_wrong_texts_are_of_others_and_the_same_in_any_split(group):
    family = tiny_family("textgan", PLAIN, group=group)
    networks, reals = seeded_networks(family), digits(family)
    names = torch.arange(1, BATCH + 1, dtype=torch.uint8)[:, None].expand(-1, 12)
    networks.generator.encoder = torch.nn.Module()
    networks.generator.encoder.forward = lambda texts: texts.float()

    def wrong(part: slice) -> torch.Tensor:
        some = replace(reals, extra={"text": names}).map(lambda tensor: tensor[part])
        randomness = SampleRandomness(range(len(some)))
        return family.game(networks, family.schedule.at(0), randomness, some).wrong[:, 0]

    whole = wrong(slice(None))
    own = torch.arange(1.0, BATCH + 1)
    assert (whole != own).all()
    assert torch.equal(whole.sort().values, own)
    assert torch.equal((whole - own) % (BATCH // group), torch.zeros(BATCH))  # within the strided group
    if group == 2:
        for start in range(4):  # ranks and micro-batches hold every fourth sample
            assert torch.equal(wrong(slice(start, None, 4)), whole[start::4])


def test_the_discriminator_refuses_fakes_and_wrong_texts_half_each():
    """Reed et al. 2016a, algorithm 1, lines 6 to 9, with every pass on its own."""
    family = tiny_family("textgan", PLAIN, r1_gamma=0.0)
    networks, reals = seeded_networks(family), digits(family)
    terms = turn(family, "discriminator")(tiny_game(family, networks), reals)
    game, net = tiny_game(family, networks), networks.discriminator
    told = networks.generator.encoder(reals.extra["text"])
    fakes = networks.generator.painter(game.randomness.normal(6), told)
    right, wrong = net(reals.images, told).logits, net(reals.images, told.roll(BATCH // 2, 0)).logits
    fake = net(fakes, told).logits
    expected = F.softplus(-right) + (F.softplus(wrong) + F.softplus(fake)) / 2
    torch.testing.assert_close(terms.loss, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(terms.stats["logits/wrong"], wrong.mean(), rtol=1e-4, atol=1e-5)


def test_the_generator_also_learns_from_texts_between_two():
    """Equation 5 at 0.5, and the encoder's own loss beside it."""
    family = tiny_family("textgan", PLAIN, interpolation_weight=0.7, matching_weight=2.0)
    networks, reals = seeded_networks(family), digits(family)
    terms = turn(family, "generator")(tiny_game(family, networks), reals)
    game, net = tiny_game(family, networks), networks.discriminator
    encoder, painter = networks.generator.encoder, networks.generator.painter
    told = encoder(reals.extra["text"])
    between = (told + told.roll(BATCH // 2, 0)) / 2
    first = net(painter(game.randomness.normal(6), told), told).logits
    second = net(painter(game.randomness.normal(6), between), between).logits
    expected = F.softplus(-first) + 0.7 * F.softplus(-second)
    matcher = networks.generator.matcher
    matching = matching_loss(matcher.products(matcher(reals.images), told, 2))
    torch.testing.assert_close(terms.loss, expected + 2 * matching, rtol=1e-4, atol=1e-5)


def test_the_encoder_learns_from_matching_alone():
    family = tiny_family("textgan", PLAIN, matching_weight=0.0)
    networks = seeded_networks(family)
    for phase in family.phases:
        phase.objective(tiny_game(family, networks), digits(family)).loss.mean().backward()
    grads = [parameter.grad for parameter in networks.generator.encoder.parameters()]
    assert all(grad is None or not grad.any() for grad in grads)
    assert all(parameter.grad is not None for parameter in networks.generator.painter.parameters())


def test_hashed_texts_and_vectors_have_no_encoder_to_learn():
    spec = replace(PLAIN, fields=(Field("vector", "array", (5,), "float32"),))
    family = tiny_family("textgan", PLAIN, encoder="hashed", text_dim=16)
    networks = seeded_networks(family)
    assert not list(networks.generator.encoder.parameters())
    assert networks.generator.matcher is None
    assert all(
        torch.isfinite(p.objective(tiny_game(family, networks), digits(family)).loss).all()
        for p in family.phases
    )
    told = build_family(family.config.model_copy(update={"encoder": "vector"}), spec, batch_size=BATCH)
    assert told.needs.fields == ("vector",)
    generator = seeded_networks(told).generator
    assert generator.painter.tell.in_features == 5
    given = Batch(
        digits(family).images[:2], None, {"vector": torch.tensor([[3.0, 0, 0, 0, 4], [0, 0, 0, 0, 0]])}
    )
    images = told.sampler(generator.eval()).draw_given(given, [1, 2]).images
    assert torch.isfinite(images).all()


def test_rates_are_halved():
    family = tiny_family("textgan", PLAIN, halve_images=100, generator_rate=0.4, discriminator_rate=0.2)
    rates = [family.schedule.at(seen).rates["generator"] for seen in (0, 99, 100, 250)]
    assert rates == pytest.approx([0.4, 0.4, 0.2, 0.1])
    never = tiny_family("textgan", PLAIN, halve_images=None)
    assert never.schedule.at(10**9).rates == never.schedule.at(0).rates


REFUSED = {
    "a text that is none": (
        {"fields": (Field("text", "array", (4,), "float32"),)}, {},
        r"family.encoder=joint: needs a field text of kind text .*; the data's is array of \[4\]",
    ),
    "a vector that is none": (
        {"fields": (Field("vector", "array", (4, 2), "float32"),)}, {"encoder": "vector"},
        "family.encoder=vector: needs a field vector of kind array and one dimension",
    ),
    "no text": ({"fields": ()}, {}, "joint: needs the field text, which the data's samples lack; .* none"),
    "too small": ({"height": 6, "width": 6, "fields": FIELDS["textgan"]}, {}, "textgan cannot make"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_it_cannot_use_is_refused_in_a_line(case):
    spec, changes, message = REFUSED[case]
    config = tiny_config("textgan", **changes)
    with pytest.raises(UserError, match=message):
        build_family(config, replace(PLAIN, **spec), batch_size=BATCH)


def test_a_batch_that_groups_do_not_divide_is_refused():
    with pytest.raises(UserError, match=r"family\.group: 3 does not divide the 8 images"):
        tiny_family("textgan", group=3).check_batch(8)


def test_an_image_depends_on_its_text_and_seed_alone():
    family = tiny_family("textgan", PLAIN)
    sampler = tiny_sampler(family, seeded_networks(family).generator.eval())
    given = digits(family).map(lambda tensor: tensor[:3])
    images = sampler.draw_given(given, [5, 6, 5]).images
    again = sampler.draw_given(given.map(lambda tensor: tensor[2:]), [5]).images
    assert torch.equal(images[2:], again)
    assert not torch.equal(images[0], images[2])  # the same seed, another text


def test_it_learns_to_draw_what_the_text_says():
    """Of digits 0 and 1, against the untrained generator."""

    def nearest(trainer) -> float:
        """The share of drawn digits that are nearer to the mean of their own kind."""
        stream = trainer.stream
        means = torch.stack([stream.images[stream.labels == label].mean(0) for label in (0, 1)])
        sampler = tiny_sampler(trainer.family, trainer.averager.average.eval())
        places = [torch.nonzero(stream.labels == label)[0, 0].repeat(30) for label in (0, 1)]
        given = stream.batch(torch.cat(places).tolist())
        drawn = sampler.draw_given(given, range(60)).images
        closest = (drawn[:, None] - means).square().flatten(2).sum(2).argmin(1)
        return float((closest == torch.arange(2).repeat_interleave(30)).float().mean())

    family = tiny_family("textgan", PLAIN, generator_rate=0.003, discriminator_rate=0.003, r1_gamma=0.0,
        halve_images=None, ema_half_life_images=100, group=4)  # fmt: skip
    trainer = tiny_trainer(family)
    stream = trainer.stream
    some = torch.nonzero(stream.labels < 2)[:, 0]
    stream.images, stream.labels, stream.texts = stream.images[some], stream.labels[some], stream.texts[some]
    before = nearest(trainer)
    for _ in range(160):
        trainer.step()
    after = nearest(trainer)
    assert after > 0.9
    assert before < 0.7
