"""Networks of pixels: what each number depends on, whole images and rows, sampling against a slow twin."""

from __future__ import annotations

import itertools

import pytest
import torch

from pipeline.contracts import ImageSpec
from pipeline.models.pixelcnn.dropout import Dropout
from pipeline.models.pixelcnn.likelihoods import Logistics, value_of
from pipeline.models.pixelcnn.masks import MaskedConv2d
from pipeline.models.pixelcnn.network import log_prob
from pipeline.models.pixelcnn.rows import Rows
from pipeline.models.pixelcnn.sampler import drawn
from pipeline.models.pixelcnn.weight_norm import ShiftedConv2d, WeightNormed, settle
from pipeline.models.registry import build_family
from tests.models.test_every_family import stir
from tests.tiny_families import seeded_networks, tiny_config

KINDS = ("shifted", "masked", "row_lstm")
each_kind = pytest.mark.parametrize("kind", KINDS)


def network_of(kind, spec, **changes):
    sizes = {"channels": 4, "scales": 3, "head_channels": 6, "mixtures": 2} | changes
    family = build_family(tiny_config("pixelcnn", network=kind, **sizes), spec, batch_size=2)
    networks = seeded_networks(family)
    stir(networks)
    return networks.generator


def images_of(spec, count=1, seed=0):
    numbers = torch.Generator().manual_seed(seed)
    return value_of(torch.randint(256, (count, spec.channels, spec.height, spec.width), generator=numbers))


def labels_of(spec, count):
    return torch.arange(count) % spec.classes if spec.classes else None


@each_kind
@pytest.mark.parametrize("spec", [ImageSpec(5, 6, 3), ImageSpec(7, 3, 1, 4)], ids=["colours", "classes"])
@pytest.mark.parametrize("trains", [True, False], ids=["training", "eval"])
def test_nothing_depends_on_itself_or_on_what_comes_later(kind, spec, trains):
    """By the gradient of what is told of every number, with dropout in training; it does depend on the number
    before, where no unit is dead, and on the pixel above."""
    network = network_of(kind, spec).train(trains)
    images = images_of(spec).requires_grad_()
    dropout = None
    if trains and network.activations(spec.height, spec.width):
        draws = torch.rand(1, network.activations(spec.height, spec.width))
        dropout = Dropout(0.3, draws)
    told = network(images, labels_of(spec, 1), dropout)
    parts = 1 if isinstance(network.likelihood, Logistics) else spec.channels
    told = told[0].unflatten(0, (parts, -1)).square().sum(dim=1)
    before, above = [], []
    for part, y, x in itertools.product(range(parts), range(spec.height), range(spec.width)):
        (gradient,) = torch.autograd.grad(told[part, y, x], images, retain_graph=True)
        in_order = gradient[0].permute(1, 2, 0).flatten()
        own = (y * spec.width + x) * spec.channels + part
        assert not in_order[own:].any(), (part, y, x)
        before += [in_order[own - 1].abs()] if x or part else []
        above += [gradient[0, :, y - 1, x].abs().max()] if y else []
    for seen in (before, above):
        assert (torch.stack(seen) > 0).float().mean() > 0.5


@each_kind
@pytest.mark.parametrize("spec", [ImageSpec(6, 5, 3, 2), ImageSpec(4, 8, 1)], ids=["colours", "grey"])
@torch.no_grad()
def test_rows_one_after_another_are_the_whole_image(kind, spec):
    """Also if each was shown before with other numbers in it, as while it is drawn."""
    network, images, labels = network_of(kind, spec, blocks=2), images_of(spec, 2), labels_of(spec, 2)
    rows, found = Rows(), []
    for y in range(spec.height):
        row = images[:, :, y : y + 1]
        network(torch.zeros_like(row), labels, rows=rows)
        found.append(network(row, labels, rows=rows))
        rows.finish()
    torch.testing.assert_close(torch.cat(found, dim=2), network(images, labels), rtol=1e-4, atol=1e-5)


@each_kind
@torch.no_grad()
def test_images_are_those_of_a_slow_twin(kind):
    """Which shows the network the whole image for every draw."""
    spec = ImageSpec(4, 5, 3, 2)
    network, labels = network_of(kind, spec), labels_of(spec, 2)
    likelihood = network.likelihood
    uniform = torch.rand(2, likelihood.draws, 4, 5, generator=torch.Generator().manual_seed(3))
    images = torch.zeros(2, 3, 4, 5)
    for y, x, step in itertools.product(range(4), range(5), range(likelihood.steps)):
        told = network(images, labels)[:, :, y, x]
        images[:, :, y, x] = likelihood.draw(told, images[:, :, y, x], uniform[:, :, y, x], step)
    assert torch.equal(drawn(network, uniform, labels), images)


@each_kind
@torch.no_grad()
def test_images_are_drawn_as_often_as_they_are_likely(kind):
    """Those of two pixels, in four ranges of values each, by a chi-square of 15 degrees of freedom."""
    spec, count = ImageSpec(1, 2, 1), 4000
    network = network_of(kind, spec, scales=1)
    if kind != "shifted":
        network.last.bias.mul_(20)  # not all values alike
    uniform = torch.rand(count, network.likelihood.draws, 1, 2, generator=torch.Generator().manual_seed(0))
    found = ((drawn(network, uniform, None) + 1) * 2).long().clamp(max=3).flatten(1)
    seen = (found[:, 0] * 4 + found[:, 1]).bincount(minlength=16).double()
    numbers = torch.arange(0, 256)
    every = value_of(torch.cartesian_prod(numbers, numbers))[:, None, None]
    likely = torch.cat([log_prob(network, part, None) for part in every.split(8192)]).double().exp()
    assert float(likely.sum()) == pytest.approx(1, abs=1e-4)
    ranges = ((every + 1) * 2).long().clamp(max=3).flatten(1)
    expected = torch.zeros(16).double().index_add(0, ranges[:, 0] * 4 + ranges[:, 1], likely) * count
    kept = expected > 5
    assert kept.sum() > 4
    assert float(((seen - expected).square() / expected)[kept].sum()) < 45  # one in 10,000 is above


def test_a_masked_convolution_is_a_whole_one_with_a_mask_of_its_own():
    """Of van den Oord et al. 2016a, figure 2, over three colours of two features each."""
    torch.manual_seed(0)
    for own in (True, False):
        layer = MaskedConv2d(6, 6, 3, 3, own=own)
        whole = torch.zeros(6, 6, 3, 3)
        whole[:, :, :2] = layer.weight.detach()
        for out, inside in itertools.product(range(6), range(6)):
            sees = inside // 2 < out // 2 or (own and inside // 2 == out // 2)
            whole[out, inside, 1, 1] *= sees
        whole[:, :, 1, 2] = 0
        x = torch.randn(2, 6, 4, 5)
        expected = torch.nn.functional.conv2d(x, whole, layer.bias, padding=1)
        torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-5)


def test_a_normalised_weight_is_its_gain_times_a_direction():
    torch.manual_seed(0)
    layer, x = ShiftedConv2d(3, 4, (2, 3), right=1), torch.randn(2, 3, 5, 6)
    before = layer(x)
    with torch.no_grad():
        layer.direction.mul_(torch.rand(4, 1, 1, 1) + 0.5)
    torch.testing.assert_close(layer(x), before, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        layer.gain.mul_(2)
    torch.testing.assert_close(layer.weight(None).flatten(1).norm(dim=1), layer.gain.detach().abs())
    torch.testing.assert_close(layer(x), 2 * before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("classes", [0, 3])
@torch.no_grad()
def test_a_fresh_network_has_outputs_of_known_mean_and_spread(classes):
    network = network_of("shifted", ImageSpec(8, 8, 3, classes))
    images, labels = torch.rand(4, 3, 16, 16) * 2 - 1, labels_of(ImageSpec(8, 8, 3, classes), 4)
    settle(network, images, labels)
    outputs: dict[torch.nn.Module, torch.Tensor] = {}
    for layer in network.modules():
        if isinstance(layer, WeightNormed):
            layer.register_forward_hook(lambda layer, _, output: outputs.update({layer: output}))
    network(images, labels)
    assert len(outputs) > 20
    for layer, output in outputs.items():
        each = output.transpose(0, 1).flatten(1)
        torch.testing.assert_close(each.mean(1), torch.zeros(len(each)), rtol=0, atol=1e-3)
        expected = torch.full([len(each)], layer.initial_scale)
        torch.testing.assert_close(each.std(1, correction=0), expected, rtol=1e-2, atol=1e-3)
