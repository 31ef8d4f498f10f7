"""GAT's game, terms, sampler and settings, against what its authors' code does, written another way."""

from __future__ import annotations

import pytest
import torch

from pipeline.config.families import GATConfig
from pipeline.contracts import Batch, ImageSpec, LevelledGame, Verdict
from pipeline.losses import Play
from pipeline.models.gat import GAT
from pipeline.models.gat.alignment import Consistency
from pipeline.models.gat.noise import reduced
from pipeline.randomness import SampleRandomness
from tests.models.test_every_family import stir
from tests.tiny_families import (
    BATCH,
    DIGITS,
    PLAIN,
    DigitStream,
    seeded_networks,
    tiny_family,
    tiny_game,
    tiny_trainer,
)

QUIET = {"flip_p": 0.0, "noise_signal": 1.0, "noise_floor": 0.0}
COLOR = {"diffaugment": ("color",), "color_p": 1.0, **QUIET}
SCALES = {"scales": (4, 2, 2, 1), "patch": 1}


def played(spec=DIGITS, **changes):
    family = tiny_family("gat", spec, **changes)
    networks = seeded_networks(family)
    stir(networks)
    return family, networks, lambda: tiny_game(family, networks)


def seen_by_the_discriminator(networks):
    """Filled with what each pass of the discriminator sees, a tuple of levels."""
    seen: list[tuple[torch.Tensor, ...]] = []
    networks.discriminator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    return seen


def digits(spec=DIGITS):
    return DigitStream(spec).draw(BATCH)[0]


def test_levels_of_a_fake_share_one_augmentation_about_the_means_of_the_last():
    """Colours only: about the means of each pixel and of the whole image, of the last level before any
    change."""
    _, networks, games = played(ImageSpec(8, 8, 3, 10), **COLOR)
    game, same = games(), games()
    fakes = game.generate(BATCH)
    same.generate(BATCH)
    seen = seen_by_the_discriminator(networks)
    game.judge_levels(fakes.levels, fakes.labels)
    tint = same.draw_augmentation(BATCH).drawn.tint
    add, sat, con = (x.view(-1, 1, 1, 1) for x in (tint.brightness, tint.saturation, tint.contrast))
    last = fakes.levels[-1]
    pixel, image = last.mean(1, keepdim=True), last.mean((1, 2, 3), keepdim=True)
    for level, shown in zip(fakes.levels, seen[0], strict=True):
        expected = ((level + add - pixel) * sat + pixel - image) * con + image
        torch.testing.assert_close(shown, expected, rtol=1e-4, atol=1e-5)
    assert (sat - 1).abs().min() > 0


def test_moved_images_are_judged_about_the_means_of_the_first():
    """The authors' replay reuses the first pass's means; means of its own would hide what a move changes."""
    _, networks, games = played(ImageSpec(8, 8, 3, 10), **COLOR)
    game = games()
    reals = Batch(torch.randn(BATCH, 3, 8, 8), torch.arange(BATCH))
    seen = seen_by_the_discriminator(networks)
    judge = game.draw_judge(BATCH)
    tint = games().draw_augmentation(BATCH).drawn.tint
    judge((reals.images,), reals.labels)
    judge((reals.images + 0.5,), reals.labels)
    slope = (tint.saturation * tint.contrast).view(-1, 1, 1, 1)
    torch.testing.assert_close(
        seen[1][0] - seen[0][0], (0.5 * slope).expand(-1, 3, 8, 8), rtol=1e-4, atol=1e-5
    )


def test_reals_are_shown_at_every_level_behind_noise_of_their_own():
    family, networks, games = played(diffaugment=(), flip_p=0.0)
    game = games()
    assert isinstance(game, LevelledGame)
    reals = digits()
    fakes = game.generate(BATCH, reals.labels)
    seen = seen_by_the_discriminator(networks)
    game.judge_both(fakes, reals)
    of_fakes, of_reals = seen
    for shown, clean in ((of_fakes, fakes.levels), (of_reals, (reals.images,) * 4)):
        noise = [
            (x - (1 - t) * y) / t for x, y, t in zip(shown, clean, (0.885, 0.76, 0.51, 0.01), strict=True)
        ]
        for each in noise:
            assert each.std().item() == pytest.approx(1, abs=0.15)
        # A coarser level's noise holds the finer one's, scaled by the ratio of the signals.
        kept = (noise[0] * noise[1]).mean() * 0.885 / 0.76
        assert kept.item() == pytest.approx(0.4792, abs=0.15)
    assert not torch.allclose(of_fakes[-1] - fakes.levels[-1] * 0.99, of_reals[-1] - reals.images * 0.99)
    assert family.shape.level_shapes == ((1, 8, 8),) * 4


def test_flips_and_holes_are_as_frequent_as_asked():
    family = tiny_family("gat", PLAIN)
    game = family.game(seeded_networks(family), family.schedule.at(0), SampleRandomness(range(2000)))
    drawn = game.draw_augmentation(2000).drawn
    assert drawn.flip.float().mean().item() == pytest.approx(0.4, abs=0.04)
    assert (drawn.tint.saturation != 1).float().mean().item() == pytest.approx(0.5, abs=0.04)
    assert drawn.hole is not None
    assert drawn.shift.abs().max() == 1  # an eighth of 8 pixels


def test_rates_shrink_as_networks_widen():
    at_b = GAT(GATConfig(), ImageSpec(32, 32, 4, 1000), batch_size=512).schedule.at(0)
    assert at_b.rates == {"generator": 2e-4, "discriminator": 2e-4}
    assert at_b.ema_beta == pytest.approx(0.999, abs=1e-6)
    config = GATConfig(width=1152, heads=16, depth=28, discriminator_width=384, discriminator_heads=6)
    rates = GAT(config, ImageSpec(32, 32, 4, 1000), batch_size=512).schedule.at(0).rates
    assert rates == pytest.approx({"generator": 2e-4 * 768 / 1152, "discriminator": 4e-4})
    still = GAT(config.model_copy(update={"rate_width": None}), ImageSpec(32, 32, 4), batch_size=512)
    assert still.schedule.at(0).rates == {"generator": 2e-4, "discriminator": 2e-4}


def test_each_network_s_gradients_are_clipped_and_turns_are_in_order():
    family = tiny_family("gat")
    assert {rule.clip_norm for rule in family.optimizers.values()} == {1.0}
    assert [phase.name for phase in family.phases] == ["discriminator", "generator"]
    assert all(rule.beta1 == 0 and rule.beta2 == 0.99 for rule in family.optimizers.values())


def test_levels_of_different_size_are_shown_at_their_size():
    family, networks, games = played(diffaugment=(), **QUIET, **SCALES)
    game, reals = games(), digits()
    fakes = game.generate(BATCH, reals.labels)
    seen = seen_by_the_discriminator(networks)
    fake, real = game.judge_both(fakes, reals)
    assert len(fake.heads) == len(real.heads) == family.heads == 4
    for scale, of_fake, of_real, level in zip((4, 2, 2, 1), *seen, fakes.levels, strict=True):
        torch.testing.assert_close(of_fake, reduced(level, scale))
        torch.testing.assert_close(of_real, reduced(reals.images, scale))


def test_consistency_is_the_distance_of_levels_from_the_last_at_their_size():
    family, _, games = played(consistency_weight=3.0, **SCALES)
    (turn,) = (phase.objective for phase in family.phases if phase.trains == "generator")
    reals = digits()
    fakes = games().generate(BATCH, reals.labels)
    terms = turn(games(), reals)
    apart = [
        (reduced(level, scale) - reduced(fakes.levels[-1], scale)).square().mean()
        for level, scale in zip(fakes.levels[:-1], (4, 2, 2), strict=True)
    ]
    expected = sum(apart) / 3
    torch.testing.assert_close(terms.stats["loss/consistency"], expected)
    rest = terms.loss.mean() - 3 * expected
    torch.testing.assert_close(rest, terms.stats["loss/generator"])


def test_consistency_alone_makes_later_heads_add_nothing():
    family, networks, games = played(consistency_weight=1.0, **SCALES)
    term = Consistency(1.0, family.shape.scales)
    optimizer = torch.optim.Adam(networks.generator.parameters(), 5e-3)
    values = []
    for _ in range(25):
        fakes = games().generate(BATCH)
        value = term(Play(games(), digits(), fakes, None, Verdict(torch.zeros(BATCH)))).loss.mean()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.2 * values[0]


def test_truncation_pulls_w_towards_the_mean_of_its_class():
    family, networks, _ = played()
    sampler = family.sampler(networks.generator.eval())
    z, labels = sampler.latents([1, 2], classes=[3, 5])
    whole, half, none = (sampler.map(z, labels, truncation=psi) for psi in (1.0, 0.5, 0.0))
    draws = torch.randn(20_000, 6, generator=torch.Generator().manual_seed(1))
    for i, label in enumerate((3, 5)):
        mean = networks.generator.mapping(draws, torch.full((len(draws),), label)).mean(0)
        torch.testing.assert_close(none[i, 0], mean, atol=0.03 * mean.norm().item(), rtol=0)
    torch.testing.assert_close(half, (whole + none) / 2)
    assert not torch.allclose(none[0], none[1])


def test_labels_are_not_needed():
    family, networks, games = played(PLAIN)
    assert networks.generator.mapping.embed is None
    verdict = games().judge(digits(PLAIN).images, None)
    assert verdict.logits.shape == (BATCH,)
    sampler = family.sampler(networks.generator.eval())
    mean = sampler.draw([1, 2], truncation=0.0).images
    torch.testing.assert_close(mean[0], mean[1])


@pytest.mark.parametrize("changes", [{}, {"scales": (2, 1)}], ids=["gat", "cat"])
@pytest.mark.slow
def test_it_learns_digits(changes):
    """Fakes' means come much closer to those of the classes than an untrained generator's. With weaker
    penalties they overshoot first, how far depends on the processor's rounding."""
    rates = {"generator_rate": 2e-3, "discriminator_rate": 4e-3, "r1_gamma": 5.0, "r2_gamma": 5.0}
    sizes = {"width": 32, "depth": 2, "levels": 2, "label_dim": 32, "ema_half_life_images": 100}
    trainer = tiny_trainer(tiny_family("gat", diffaugment=(), flip_p=0.0, **rates, **sizes, **changes))
    stream = trainer.stream
    truth = torch.stack([stream.images[stream.labels == label].mean(0) for label in range(10)])

    def distance():
        sampler = trainer.family.sampler(trainer.averager.average)
        fakes = sampler.draw(range(40), classes=[i % 10 for i in range(40)])
        means = torch.stack([fakes.images[fakes.labels == label].mean(0) for label in range(10)])
        return (means - truth).square().mean().item()

    before = distance()
    for _ in range(100):
        trainer.step()
    assert distance() < 0.5 * before
