"""What a seed makes: standing statistics, truncation; and what the schedule and the objectives say."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
from scipy.stats import kstest, truncnorm

from pipeline.config.families import BigGANConfig
from pipeline.config.load import load_config
from pipeline.contracts import ImageSpec
from pipeline.errors import UserError
from pipeline.losses.extras import off_diagonal
from pipeline.models.biggan import BigGAN
from pipeline.models.biggan.family import orthogonal_weights
from pipeline.models.biggan.sampler import truncated
from pipeline.models.layers import BatchNorm
from tests.models.test_biggan_networks import family, made

CONFIGS = Path(__file__).parents[2] / "configs"


def norms(generator) -> list[BatchNorm]:
    return [module for module in generator.modules() if isinstance(module, BatchNorm)]


# ---- standing statistics


def test_standing_statistics_are_those_of_all_batches_images_together():
    """Recorded by hand: each normalisation's input in each of the batches."""
    sampler = family(standing_batches=3, standing_batch_size=5).sampler(made().generator.eval())
    seen = [[] for _ in norms(sampler._source)]
    hooked = copy.deepcopy(sampler._source)
    sampler._source = hooked  # copies keep hooks
    for place, norm in enumerate(norms(hooked)):
        norm.register_forward_pre_hook(lambda _, inputs, place=place: seen[place].append(inputs[0].clone()))
    sampler.draw([1])
    for norm, inputs in zip(norms(sampler._ready), seen, strict=True):
        batches = inputs[:3]
        assert [len(batch) for batch in batches] == [5, 5, 5]
        together = torch.cat(batches)
        var, mean = torch.var_mean(together.double(), dim=(0, 2, 3), correction=0)
        torch.testing.assert_close(norm.running_mean.double(), mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(norm.running_var.double(), var, rtol=1e-4, atol=1e-5)
        assert (norm.over_ranks, norm.momentum, norm.training) == (True, 0.1, False)


def test_the_first_layers_statistics_do_not_depend_on_how_images_are_batched():
    """Later layers' do, by what normalising each batch by itself does to those before."""
    generator, found = made().generator.eval(), []
    for batches, size in ((24, 2), (1, 48)):
        sampler = family(standing_batches=batches, standing_batch_size=size).sampler(generator)
        sampler.draw([1])
        first = norms(sampler._ready)[0]
        found.append((first.running_mean, first.running_var))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "name", ["biggan-128", "biggan-256", "biggan-512", "biggan-deep-256", "biggan-deep-512"]
)
def test_as_many_images_as_in_the_public_code(name):
    config = load_config(CONFIGS / f"{name}.yaml").family
    assert config.standing_batches * config.standing_batch_size == 16 * 256


def test_they_are_a_function_of_the_weights_and_leave_the_generator_as_it_was():
    model = family(standing_batches=2, standing_batch_size=4)
    generator = made().generator.eval()
    before = copy.deepcopy(generator.state_dict())
    first = model.sampler(generator).draw([1, 2]).images
    for key, value in generator.state_dict().items():
        assert torch.equal(value, before[key]), key
    for norm in norms(generator):  # what training's averages are does not matter
        norm.running_mean.add_(1)
        norm.running_var.mul_(3)
    torch.manual_seed(99)
    assert torch.equal(model.sampler(generator).draw([1, 2]).images, first)
    assert not any(module.training for module in generator.modules())


def test_without_batches_trainings_averages_count():
    model = family(standing_batches=0)
    generator = made().generator
    for _ in range(3):
        generator(torch.randn(4, 12), torch.arange(4))
    generator.eval()
    drawn = model.sampler(generator).draw([3], classes=[2])
    expected = generator(drawn.latents, torch.tensor([2]), exact=True)
    torch.testing.assert_close(drawn.images, expected)


# ---- truncation


def test_truncated_latents_have_the_truncated_normals_distribution():
    torch.manual_seed(4)
    z, place = torch.randn(20000), torch.rand(20000)
    for psi in (0.2, 0.5, 0.9):
        found = truncated(z, place, psi)
        limit = 2 * psi
        assert found.abs().max() <= limit
        inside = z.abs() <= limit
        assert torch.equal(found[inside], z[inside])
        assert kstest(found.numpy(), truncnorm(-limit, limit).cdf).pvalue > 0.01
    assert torch.equal(truncated(z, place, 1.0), z)
    assert not truncated(z, place, 0.0).any()


def test_truncation_of_samples():
    sampler = family(standing_batches=1, standing_batch_size=4).sampler(made().generator.eval())
    full = sampler.draw(range(50))
    assert full.latents.abs().max() > 2
    half = sampler.draw(range(50), truncation=0.5)
    assert half.latents.abs().max() <= 1
    assert torch.equal(half.labels, full.labels)  # the class is the seed's, whatever the truncation
    alone = sampler.draw([7], truncation=0.5)
    assert torch.equal(alone.images[0], half.images[7])
    average = sampler.draw([1, 2], classes=[3, 3], truncation=0.0)
    assert not average.latents.any()
    assert torch.equal(average.images[0], average.images[1])
    for wrong in (-0.1, 1.5, math.nan):
        with pytest.raises(UserError, match="allowed: 0 to 1"):
            sampler.draw([1], truncation=wrong)


# ---- schedule and objectives


def test_the_averages_decay_is_the_papers():
    """.9999 a step of two turns of 2048 images, from 20,000 steps on (Brock et al. 2019, appendix C)."""
    schedule = BigGAN(BigGANConfig(), ImageSpec(128, 128, 3, 1000), batch_size=2048).schedule
    step = 2 * 2048
    assert schedule.at(19_999 * step).ema_beta == 0
    assert schedule.at(20_000 * step).ema_beta == pytest.approx(0.9999, abs=1e-9)
    assert schedule.at(0).rates == {"generator": 5e-5, "discriminator": 2e-4}


def test_orthogonal_regularisation_is_of_all_weights_but_the_shared_embedding():
    generator = made().generator
    chosen = {id(weight) for weight in orthogonal_weights(generator)}
    for name, parameter in generator.named_parameters():
        wanted = parameter.ndim >= 2 and name != "shared.weight"
        assert (id(parameter) in chosen) == wanted, name


@pytest.mark.parametrize("size", [(3, 7), (7, 3)])
def test_its_penalty_and_gradient(size):
    """Brock et al. 2019, eq. 3, by loops; its gradient is twice what the public code adds."""
    w = torch.randn(size, dtype=torch.float64, requires_grad=True)
    expected = sum(torch.dot(w[i], w[j]) ** 2 for i in range(size[0]) for j in range(size[0]) if i != j)
    penalty = off_diagonal(w)
    torch.testing.assert_close(penalty, expected)
    (gradient,) = torch.autograd.grad(penalty, w)
    public = 2 * ((w @ w.T) * (1 - torch.eye(size[0], dtype=w.dtype))) @ w
    torch.testing.assert_close(gradient, 2 * public)
