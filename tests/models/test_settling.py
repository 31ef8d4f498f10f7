"""Buffers that follow from parameters, after these were set by hand, against their definitions."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pipeline.contracts import Networks
from pipeline.models.layers import BatchNorm, Spectral
from pipeline.models.settling import settle
from pipeline.randomness import SampleRandomness
from tests.tiny_families import DIGITS, PLAIN, TINY, seeded_networks, tiny_family


def settled(name, spec=DIGITS, **changes):
    """(family, generator) with parameters that its buffers know nothing of."""
    family = tiny_family(name, spec, **changes)
    generator = seeded_networks(family).generator
    numbers = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in generator.parameters():
            value.add_(torch.randn(value.shape, generator=numbers) * 0.3)
    settle(family, generator, family.schedule.at(1000))
    return family, generator


def test_the_vectors_of_spectral_normalisation_are_the_largest_singular_ones():
    _, generator = settled("biggan")
    layers = [module for module in generator.modules() if isinstance(module, Spectral)]
    assert layers
    for layer in layers:
        matrix = layer.weight.detach().flatten(1).double()
        # Where two of them nearly agree, u may be any mixture of both.
        largest = float(torch.linalg.matrix_norm(matrix, 2))
        assert float((layer.u.double() @ matrix).norm()) == pytest.approx(largest, rel=1e-4)


@pytest.mark.parametrize("name", ["dcgan", "biggan"])
def test_the_statistics_of_batch_normalisation_are_those_of_the_images_it_makes(name):
    family, generator = settled(name)
    layer = next(module for module in generator.modules() if isinstance(module, BatchNorm))
    seen = []
    layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    randomness = SampleRandomness(range(1024))
    with torch.no_grad():
        stage = family.schedule.at(1000)
        family.game(Networks(generator, nn.Module()), stage, randomness).generate(1024, exact=True)
    x = torch.cat(seen).transpose(0, 1).flatten(1)
    spread = x.std(1)
    assert ((layer.running_mean - x.mean(1)).abs() < 0.2 * spread).all()
    torch.testing.assert_close(layer.running_var, x.var(1), rtol=0.2, atol=1e-6)
    assert not any(module.training for module in generator.modules())


@pytest.mark.parametrize("spec", [DIGITS, PLAIN])
def test_w_avg_is_the_mean_of_w(spec):
    _, generator = settled("stylegan2", spec)
    mapping, count = generator.mapping, 8192
    z = torch.randn(count, mapping.z_dim, generator=torch.Generator().manual_seed(9))
    labels = torch.arange(count) % spec.classes if spec.classes else None
    with torch.no_grad():
        w = mapping(z, labels)
    error = w.std(0) / count**0.5 * (1 + 0.5**0.5)
    assert ((mapping.w_avg - w.mean(0)).abs() < 4 * error).all()


@pytest.mark.parametrize("name", TINY)
def test_settling_twice_is_settling_once_and_parameters_stay(name):
    family, generator = settled(name)
    once = {key: value.clone() for key, value in generator.state_dict().items()}
    settle(family, generator, family.schedule.at(1000))
    for key, value in generator.state_dict().items():
        if not key.endswith(".u"):
            torch.testing.assert_close(value, once[key], rtol=1e-4, atol=1e-5)
    fresh = dict(settled(name)[1].named_parameters())
    assert all(torch.equal(value, fresh[key]) for key, value in generator.named_parameters())
