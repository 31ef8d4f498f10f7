"""ADA in StyleGAN2: how p moves, what it governs, and what a step that is not finite leaves alone."""

from __future__ import annotations

import pytest
import torch

from pipeline.config.families import AdaConfig, StyleGAN2Config
from pipeline.contracts import Batch, ImageSpec, Networks
from pipeline.models.augment import Augment, Controller
from pipeline.models.stylegan2 import StyleGAN2
from pipeline.randomness import SampleRandomness


def family(channels: int = 3, **ada) -> StyleGAN2:
    config = StyleGAN2Config(
        z_dim=8,
        w_dim=8,
        mapping_layers=1,
        channel_base=64,
        channel_max=8,
        minibatch_stddev_group=2,
        ada=AdaConfig(**ada),
    )
    return StyleGAN2(config, ImageSpec(16, 16, channels), batch_size=4)


def reals(channels: int = 3) -> Batch:
    return Batch(torch.rand(4, channels, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1)


def networks(of: StyleGAN2) -> Networks:
    torch.manual_seed(0)
    return of.networks()


def run(of: StyleGAN2, players: Networks, phase: str) -> dict[str, torch.Tensor]:
    """The stats of one phase; leaves gradients in the network that it trains."""
    chosen = next(p for p in of.phases if p.name == phase)
    game = of.game(players, of.schedule.at(0), SampleRandomness(range(4)))
    terms = chosen.objective(game, reals(of.spec.channels))
    terms.loss.mean().backward()
    return dict(terms.stats)


def controller(**ada) -> Controller:
    return Controller(AdaConfig(mode="adaptive", **ada))


def test_p_follows_the_mean_sign_of_the_interval():
    ada = controller(p=0.2, target=0.6, adjust_images=1000, every=3)
    for sign in (1.0, 0.7, 0.2):  # mean .633, above the target
        assert ada.p == pytest.approx(0.2)
        ada.observe(torch.tensor(sign), 32)
    assert ada.p.item() == pytest.approx(0.2 + 96 / 1000)
    for sign in (1.0, 0.6, 0.1):  # mean .567, though the first are above it
        ada.observe(torch.tensor(sign), 32)
    assert ada.p.item() == pytest.approx(0.2)


def test_p_weighs_steps_by_their_images():
    """On both sides of the target, where a plain mean of the signs lies on the other."""
    for few, many, end in ((1.0, 0.5, 0.4), (0.0, 0.7, 0.6)):  # weighted .55 and .63, plain .75 and .35
        ada = controller(p=0.5, target=0.6, adjust_images=1000, every=2)
        ada.observe(torch.tensor(few), 10)
        ada.observe(torch.tensor(many), 90)
        assert ada.p.item() == pytest.approx(end)


@pytest.mark.parametrize(("sign", "end"), [(1.0, 1.0), (-1.0, 0.0)])
def test_p_stays_within_its_bounds(sign, end):
    ada = controller(p=0.5, adjust_images=100, every=1)
    for _ in range(40):
        ada.observe(torch.tensor(sign), 7)
    assert ada.p.item() == end


def test_the_controller_continues_from_its_saved_state():
    first, second = controller(adjust_images=1000), controller(adjust_images=1000)
    for step in range(10):
        first.observe(torch.tensor(0.9), 32)
        second.observe(torch.tensor(0.9), 32)
        if step == 5:  # in the middle of an interval
            restored = controller(adjust_images=1000)
            restored.load_state_dict(second.state_dict())
            second = restored
    assert first.p.item() > 0
    assert {k: v.item() for k, v in first.state_dict().items()} == {
        k: v.item() for k, v in second.state_dict().items()
    }


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_a_step_that_is_not_finite_moves_nothing(value, steps):
    of = family(mode="adaptive", p=0.3)
    players = networks(of)
    w_dim = of.config.w_dim
    good = {
        "signs/real": torch.tensor(1.0),
        "path_length": torch.tensor(2.0),
        "w_mean": torch.ones(w_dim),
    }
    for _ in range(steps):
        of.observe(players, good, 4)
    saved = {k: v.clone() for k, v in of.memory.state_dict().items()}
    w_avg = players.generator.mapping.w_avg.clone()
    w_mean = torch.ones(w_dim)
    w_mean[3] = value  # one bad number spoils the mean as a whole
    bad = {"signs/real": torch.tensor(value), "path_length": torch.tensor(value), "w_mean": w_mean}
    of.observe(players, bad, 4)
    after = of.memory.state_dict()
    assert saved.keys() == after.keys()
    assert all(torch.equal(saved[k], after[k]) for k in saved)
    assert torch.equal(w_avg, players.generator.mapping.w_avg)
    before = of.memory.path_length_mean.clone()
    of.observe(players, good, 4)
    assert of.memory.path_length_mean > before
    assert not torch.equal(w_avg, players.generator.mapping.w_avg)


def test_the_memory_saves_p_and_no_constants():
    keys = set(family(mode="adaptive", kinds=("blit", "geometry", "filter")).memory.state_dict())
    assert keys == {"path_length_mean", "ada.p", "ada.sign_sum", "ada.images", "ada.steps"}


def test_without_ada_images_are_judged_as_they_are():
    of = family(mode="off", p=1.0)
    players = networks(of)
    game = of.game(players, of.schedule.at(0), SampleRandomness(range(4)))
    image = reals().images
    assert torch.equal(game.judge(image, None).logits, players.discriminator(image, None))
    assert not of.figures()


@pytest.mark.parametrize("mode", ["fixed", "adaptive"])
def test_with_ada_images_are_judged_as_augmented(mode):
    of = family(mode=mode, p=0.9)
    players = networks(of)
    game = of.game(players, of.schedule.at(0), SampleRandomness(range(4)))
    image = reals().images
    shown = Augment(of.config.ada, (16, 16), 3)(image, SampleRandomness(range(4)), torch.tensor(0.9))
    assert not torch.equal(shown, image)
    assert torch.equal(game.judge(image, None).logits, players.discriminator(shown, None))
    assert of.figures()["state/ada_p"].item() == pytest.approx(0.9)
    for _ in range(4):
        of.observe(players, {"signs/real": torch.tensor(-1.0)}, 50_000)
    # 0.9 - 200k / 500k, if it moves at all.
    assert of.memory.ada.p.item() == pytest.approx(0.5 if mode == "adaptive" else 0.9)
    assert of.figures()["state/ada_p"].item() == of.memory.ada.p.item()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("phase", ["generator", "discriminator", "r1"])
def test_every_phase_reaches_its_weights_through_the_pipe(phase, channels):
    of = family(
        channels, mode="fixed", p=0.8, kinds=("blit", "geometry", "color", "filter", "noise", "cutout")
    )
    players = networks(of)
    run(of, players, phase)
    trained = players.generator if phase == "generator" else players.discriminator
    gradients = [p.grad for p in trained.parameters() if p.grad is not None]
    assert gradients
    assert all(torch.isfinite(g).all() for g in gradients)
    assert max(g.abs().max() for g in gradients) > 0
