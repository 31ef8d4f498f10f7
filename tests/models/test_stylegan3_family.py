"""StyleGAN3's game and memory: magnitudes, the blur of config R, w_avg; and that a small one learns."""

from __future__ import annotations

import pytest
import torch

from pipeline.config.families import AdaConfig, StyleGAN3Config
from pipeline.models.registry import build_family
from pipeline.models.stylegan3.blur import Blurring
from pipeline.randomness import SampleRandomness
from pipeline.training.turns import moving_scalars, with_scalars
from tests.models.test_every_family import stir
from tests.tiny_families import (
    BATCH,
    DIGITS,
    PLAIN,
    DigitStream,
    seeded_networks,
    sliced_distance,
    tiny_family,
    tiny_game,
    tiny_trainer,
)

ROUND = {"kernel": 1, "radial": True}


def magnitudes(generator) -> list[float]:
    return [float(layer.magnitude) for layer in generator.synthesis.layers]


# ---- magnitudes


def test_magnitudes_move_once_a_step_by_the_fakes_of_the_discriminators_turn():
    family = tiny_family("stylegan3", magnitude_half_life_images=2 * BATCH, w_avg_decay=0.75)
    trainer = tiny_trainer(family)
    generator, measured = trainer.networks.generator, []
    family_observe = family.observe

    def observe(networks, stats, images):
        measured.append({key: stats[key].clone() for key in ("mean_squares", "w_mean")})
        family_observe(networks, stats, images)

    family.observe = observe
    expected, w_avg = torch.ones(5), torch.zeros(10)
    for _ in range(3):
        trainer.step()
        expected = expected * 0.5**0.5 + measured[-1]["mean_squares"] * (1 - 0.5**0.5)
        w_avg = w_avg * 0.75 + measured[-1]["w_mean"] * 0.25
        torch.testing.assert_close(torch.tensor(magnitudes(generator)), expected)
        torch.testing.assert_close(generator.mapping.w_avg, w_avg)
        assert magnitudes(trainer.averager.average) == magnitudes(generator)
    assert len(measured) == 3


def test_turns_of_the_generator_measure_nothing():
    family = tiny_family("stylegan3")
    game = tiny_game(family, seeded_networks(family))
    assert not game.generate(BATCH).stats
    with torch.no_grad():
        assert set(game.generate(BATCH).stats) == {"mean_squares", "w_mean"}


def test_micro_batches_agree_on_magnitudes():
    """Each holds every second sample; means of their means are those of all."""
    found = []
    for micro in (None, BATCH // 2):
        trainer = tiny_trainer(tiny_family("stylegan3"), micro=micro)
        trainer.step()
        found.append(magnitudes(trainer.networks.generator))
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    assert found[0] != [1.0] * 5


def test_magnitudes_stay_where_they_do_not_move():
    family = tiny_family("stylegan3", magnitude_half_life_images=0)
    trainer = tiny_trainer(family)
    trainer.step()
    assert magnitudes(trainer.networks.generator) == [1.0] * 5


def test_a_step_that_is_not_finite_moves_no_magnitude():
    family = tiny_family("stylegan3")
    networks = seeded_networks(family)
    stats = {"mean_squares": torch.tensor([2.0, float("nan"), 3.0, 2.0, 2.0])}
    family.observe(networks, stats, BATCH)
    found = magnitudes(networks.generator)
    assert found[1] == 1
    assert all(value > 1 for value in found[:1] + found[2:])


# ---- config R


def test_blur_halves_at_sigma_and_ends_at_three():
    one = torch.zeros(1, 1, 33, 33)
    one[..., 16, 16] = 1
    row = Blurring(2.0, most=4.0)(SampleRandomness([0]))(one)[0, 0, 16]
    assert float(row[18] / row[16]) == pytest.approx(0.5, rel=1e-5)
    assert float(row[20] / row[16]) == pytest.approx(2**-4, rel=1e-5)
    assert row[10] > 0
    assert row[9] == 0
    full = Blurring(2.0, most=2.0)(SampleRandomness([0]))(torch.ones(1, 1, 33, 33))
    assert float(full[0, 0, 16, 16]) == pytest.approx(1, rel=1e-5)
    sharp = Blurring(torch.tensor(1e-9, dtype=torch.float64), most=2.0)(SampleRandomness([0]))
    image = torch.randn(2, 3, 16, 16)
    assert torch.equal(sharp(image), image)


def test_blur_goes_linearly_and_then_is_gone():
    family = tiny_family("stylegan3", blur_sigma=6.0, blur_images=300)
    weights = [family.schedule.at(seen).weights for seen in (0, 100, 299, 300, 10**6)]
    assert [each.get("blur_sigma", 0) for each in weights] == pytest.approx([6, 4, 0.02, 0, 0])
    assert not weights[3]
    assert not tiny_family("stylegan3", blur_sigma=0).schedule.at(0).weights
    assert family.config.transferred().blur_sigma == 0


@pytest.mark.parametrize("on_device", [False, True])
def test_the_discriminator_sees_reals_and_fakes_blurred_and_then_augmented(on_device):
    family = tiny_family(
        "stylegan3", PLAIN, blur_sigma=2.0, ada={"mode": "fixed", "p": 1.0, "kinds": ["color"]}
    )
    networks, randomness = seeded_networks(family), SampleRandomness(range(BATCH))
    stage = family.schedule.at(0)
    if on_device:
        stage = with_scalars(stage, moving_scalars(stage, torch.device("cpu")))
    game = family.game(networks, stage, randomness)
    shown: list[torch.Tensor] = []
    networks.discriminator.register_forward_pre_hook(lambda _, inputs: shown.append(inputs[0]))
    reals = DigitStream(PLAIN).draw(BATCH)[0]
    fakes = game.generate(BATCH)
    game.judge_both(fakes, reals)
    pipe = family.memory["augment"]
    same = SampleRandomness(range(BATCH))
    same.normal(12)  # z
    blur = Blurring(2.0, most=2.0)(same)
    rows = shown[0].reshape(2, 2, BATCH // 2, 1, 8, 8)  # of each group half fakes, half reals
    for number, images in enumerate((fakes.images, reals.images)):
        expected = pipe.draw(same, torch.tensor(1.0))(blur(images))
        torch.testing.assert_close(rows[:, number].flatten(0, 1), expected, rtol=1e-4, atol=1e-5)


def test_r1_is_of_the_sharp_image():
    family = tiny_family("stylegan3", PLAIN, blur_sigma=2.0, r1_gamma=2.0)
    networks = seeded_networks(family)
    stir(networks)
    (r1,) = [phase for phase in family.phases if phase.name == "r1"]
    reals = DigitStream(PLAIN).draw(BATCH)[0]
    found = r1.objective(tiny_game(family, networks), reals).loss
    images = reals.images.clone().requires_grad_()
    blurred = Blurring(2.0, most=2.0)(SampleRandomness(range(BATCH)))(images)
    (slope,) = torch.autograd.grad(networks.discriminator(blurred).sum(), images)
    torch.testing.assert_close(found, slope.square().sum((1, 2, 3)), rtol=1e-4, atol=1e-6)


# ---- the rest


def test_its_discriminator_is_stylegan2s():
    """The same numbers from the same seed."""
    ours = tiny_family("stylegan3", discriminator_channel_base=128, discriminator_channel_max=16)
    theirs = tiny_family("stylegan2", label_mapping_layers=2)
    torch.manual_seed(5)
    first = ours.networks().discriminator
    second = theirs.networks().discriminator
    second.load_state_dict(first.state_dict())
    images, labels = torch.randn(4, 1, 8, 8), torch.arange(4)
    assert torch.equal(first(images, labels), second(images, labels))


def test_gradients_of_config_r_reach_all():
    family = tiny_family("stylegan3", **ROUND)
    networks = seeded_networks(family)
    stir(networks)
    reals = DigitStream().draw(BATCH)[0]
    for phase in family.phases[:2]:
        phase.objective(tiny_game(family, networks), reals).loss.mean().backward()
        for name, parameter in networks[phase.trains].named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name
        networks.generator.zero_grad()


def test_diffusion_tells_the_discriminator():
    diffusion = {"mode": "fixed", "p": 1.0}
    family = tiny_family("stylegan3", diffusion=diffusion)
    networks = seeded_networks(family)
    told: list[torch.Tensor] = []
    networks.discriminator.register_forward_pre_hook(lambda _, inputs: told.append(inputs[1]))
    reals = DigitStream().draw(BATCH)[0]
    tiny_game(family, networks).judge(reals.images, reals.labels)
    assert told[0].shape == (BATCH, 2)
    assert torch.equal(told[0][:, 0], reals.labels)


@pytest.mark.slow
def test_samples_come_closer_to_digits():
    config = StyleGAN3Config(
        z_dim=16,
        w_dim=16,
        channel_base=96,
        channel_max=16,
        layers=4,
        margin=3,
        discriminator_channel_base=128,
        discriminator_channel_max=16,
        label_mapping_layers=2,
        minibatch_stddev_group=4,
        generator_rate=0.0025,
        discriminator_rate=0.0025,
        r1_gamma=1,
        magnitude_half_life_images=500,
        ema_half_life_images=300,
        ada=AdaConfig(mode="adaptive", adjust_images=5000),
    )
    family = build_family(config, DIGITS, batch_size=BATCH)
    trainer = tiny_trainer(family)
    stream = trainer.stream

    def distance() -> float:
        samples = family.sampler(trainer.averager.average).draw(
            range(100), classes=stream.labels[:100].tolist()
        )
        return sliced_distance(samples.images, stream.images[:100])

    control = distance()
    for _ in range(150):
        trainer.step()
    assert distance() < 0.6 * control
