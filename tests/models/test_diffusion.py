"""Diffusion-GAN's noise against the sums and products of Wang et al. 2022, and who is told of it."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from pipeline.config.families import DiffusionConfig
from pipeline.models.augment import DiffAugment, Diffusion
from pipeline.randomness import SampleRandomness
from pipeline.training.state import put_back, take
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

MANY = 4000
TOLD = {"diffusion": {"mode": "fixed", "p": 0.05}}


def diffusion(p: float, **changes) -> Diffusion:
    return Diffusion(DiffusionConfig(mode="fixed", p=p, **changes))


# ---- the process


@pytest.mark.parametrize(("p", "total"), [(0.0, 10), (0.3, 307), (0.5, 505), (1.0, 1000)])
def test_p_moves_the_number_of_steps(p, total):
    assert float(diffusion(p).steps) == total


def test_an_image_has_noise_of_t_steps_with_the_papers_probabilities():
    noised = diffusion(0.0, share=0.5).draw(SampleRandomness(range(MANY)), (1, 1, 1))
    weights = np.arange(10) / 2 / 45  # of t from 1 to 10, half of the images
    counts = np.bincount(noised.steps.numpy(), minlength=11)
    assert counts[1] == 0  # whose weight is 0
    expected = MANY * np.array([0.5, *weights[1:]])
    assert stats.chisquare(np.delete(counts, 1), expected).pvalue > 1e-5
    assert (diffusion(0.0, share=0.0).draw(SampleRandomness(range(9)), (1, 1, 1)).steps == 0).all()


@pytest.mark.parametrize("p", [0.0, 0.2, 1.0])
def test_noise_is_that_of_a_process_with_linear_betas(p):
    drawn = diffusion(p).draw(SampleRandomness(range(60)), (2, 3, 4))
    total = int(10 + round(p * 990))
    betas = np.linspace(1e-4, 0.02, total)
    kept = np.concatenate([[1.0], np.cumprod(1 - betas)])[drawn.steps.numpy()]
    assert drawn.steps.max() > total / 2
    images = torch.rand(60, 2, 3, 4, generator=torch.Generator().manual_seed(2)) * 2 - 1
    factors = [np.sqrt(x)[:, None, None, None] for x in (kept, 1 - kept)]
    expected = factors[0] * images.numpy() + 0.05 * factors[1] * drawn.noise.numpy()
    np.testing.assert_allclose(drawn(images).numpy(), expected, rtol=2e-5, atol=2e-6)
    assert torch.equal(drawn(images), drawn(images))
    clean = drawn.steps == 0
    assert torch.equal(drawn(images)[clean], images[clean])
    assert clean.any()
    assert drawn.moved(images) is images


def test_a_samples_noise_is_its_own():
    whole = diffusion(0.4).draw(SampleRandomness([5, 6, 7]), (1, 2, 2))
    alone = diffusion(0.4).draw(SampleRandomness([6]), (1, 2, 2))
    for name in ("kept", "spread", "noise", "steps"):
        assert torch.equal(getattr(whole, name)[1:2], getattr(alone, name))


# ---- who is told


class Told:
    """Notes what a discriminator is given beside images."""

    def __init__(self, network: torch.nn.Module) -> None:
        self.given: list[torch.Tensor | None] = []
        network.register_forward_pre_hook(lambda _, inputs: self.given.append(inputs[1]))


@pytest.mark.parametrize("spec", [DIGITS, PLAIN], ids=["classes", "plain"])
def test_stylegan2s_discriminator_is_told_of_each_image(spec):
    family = tiny_family("stylegan2", spec, **TOLD)
    networks = seeded_networks(family)
    told = Told(networks.discriminator)
    (reals,) = DigitStream(spec).draw(BATCH)
    game, same = (tiny_game(family, networks) for _ in range(2))
    verdict = game.judge(reals.images, reals.labels)
    (given,) = told.given
    noised = family.memory.losses.diffusion.draw(same.randomness, (1, 8, 8))
    assert torch.equal(given[:, -1], noised.steps)
    assert spec.classes == 0 or torch.equal(given[:, 0], reals.labels)
    assert len(given[0]) == (2 if spec.classes else 1)
    shown = networks.discriminator(noised(reals.images), given)
    assert torch.equal(verdict.logits, shown)
    others = given.clone()
    others[:, -1] = 7 - others[:, -1].clamp(max=7)
    assert not torch.equal(networks.discriminator(noised(reals.images), others), shown)
    # Without a number of steps, an image is clean.
    given[:, -1] = 0
    clean = tiny_game(family, networks).judge_shown(reals.images, reals.labels)
    assert torch.equal(clean.logits, networks.discriminator(reals.images, given))


def test_fakes_and_reals_judged_together_have_noise_of_their_own():
    family = tiny_family("stylegan2", **TOLD)
    networks = seeded_networks(family)
    (reals,) = DigitStream().draw(BATCH)
    fakes = tiny_game(family, networks).generate(BATCH, reals.labels)
    together = tiny_game(family, networks).judge_both(fakes, reals)
    game = tiny_game(family, networks)
    apart = game.judge(fakes.images, fakes.labels), game.judge(reals.images, reals.labels)
    for ours, theirs in zip(together, apart, strict=True):
        torch.testing.assert_close(ours.logits, theirs.logits, rtol=1e-4, atol=1e-5)
    same = tiny_game(family, networks).judge_both(replace(fakes, images=reals.images), reals)
    assert not torch.allclose(same[0].logits, same[1].logits)


def test_a_judge_that_was_drawn_has_the_same_noise_again():
    family = tiny_family("stylegan2", **TOLD)
    networks = seeded_networks(family)
    (reals,) = DigitStream().draw(BATCH)
    game = tiny_game(family, networks)
    judge = game.draw_judge(BATCH)
    first, again = (judge((reals.images,), reals.labels).logits for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(first, tiny_game(family, networks).judge(reals.images, reals.labels).logits)
    assert not torch.equal(first, game.draw_judge(BATCH)((reals.images,), reals.labels).logits)


@pytest.mark.parametrize("spec", [DIGITS, PLAIN], ids=["classes", "plain"])
def test_the_told_train_and_go_on_to_the_bit(spec):
    settings = {"diffusion": {"mode": "adaptive", "p": 0.02, "every": 2, "adjust_images": 500}}
    settings |= {"apa": {"mode": "adaptive", "p": 0.3, "every": 1, "adjust_images": 400}}
    straight = tiny_trainer(tiny_family("stylegan2", spec, **settings))
    start = {
        name: parameter.clone() for name, parameter in straight.networks.discriminator.named_parameters()
    }
    for _ in range(3):
        straight.step()
    saved = copy.deepcopy(take(straight))
    for _ in range(3):
        straight.step()
    for name, parameter in straight.networks.discriminator.named_parameters():
        assert not torch.equal(parameter, start[name]), name
    figures = straight.family.figures()
    assert float(figures["state/diffusion_steps"]) != diffusion(0.02).steps
    assert float(figures["state/apa_p"]) != pytest.approx(0.3)
    resumed = tiny_trainer(tiny_family("stylegan2", spec, **settings), micro=BATCH)
    put_back(resumed, saved)
    resumed.stream = DigitStream(spec, resumed.progress.images_seen)
    for _ in range(3):
        resumed.step()
    ours, theirs = take(resumed), take(straight)
    for group, tensors in theirs.items():
        for key, value in tensors.items():
            assert torch.equal(ours[group][key], value), f"{group}: {key}"


@pytest.mark.parametrize("name", ["dcgan", "mlp", "r3gan", "stylegan2"])
def test_others_see_the_noise_without_being_told(name):
    settings = {"diffusion": {"mode": "fixed", "p": 0.05, "told": False}}
    if name in ("dcgan", "r3gan"):
        settings |= {"diffaugment": []} if name == "dcgan" else {"augment_p_end": 0.0}
    family = tiny_family(name, PLAIN, **settings)
    networks = seeded_networks(family)
    (reals,) = DigitStream(PLAIN).draw(BATCH)
    memory = family.memory["losses"] if name == "r3gan" else getattr(family.memory, "losses", family.memory)
    game, same = (tiny_game(family, networks) for _ in range(2))
    noised = memory.diffusion.draw(same.randomness, (1, 8, 8))
    assert torch.equal(game.draw_augmentation(BATCH)(reals.images), noised(reals.images))
    assert (noised.steps > 0).any()


@pytest.mark.parametrize("name", ["dcgan", "stylegan2"])
def test_noise_comes_after_the_augmentation(name):
    kinds = {"diffaugment": ["color", "translation", "cutout"]}
    family = tiny_family(
        name, PLAIN, **kinds, diffusion={"mode": "fixed", "p": 0.05, "told": False, "share": 1.0}
    )
    networks = seeded_networks(family)
    (reals,) = DigitStream(PLAIN).draw(BATCH)
    losses = getattr(family.memory, "losses", family.memory)
    game, same = (tiny_game(family, networks) for _ in range(2))
    moved = DiffAugment(kinds["diffaugment"]).draw(same.randomness, (8, 8))
    noised = losses.diffusion.draw(same.randomness, (1, 8, 8))
    shown = game.draw_augmentation(BATCH)(reals.images)
    assert torch.equal(shown, noised(moved(reals.images)))
    assert not torch.equal(shown, moved(reals.images))
