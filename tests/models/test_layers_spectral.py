"""Layers with spectral normalisation against torch's singular values and against a plain definition."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from pipeline.models.layers import SpectralConv2d, SpectralEmbedding, SpectralLinear

KINDS = {
    "linear": (lambda: SpectralLinear(7, 5), torch.randn(3, 7)),
    "conv": (lambda: SpectralConv2d(4, 6, 3), torch.randn(2, 4, 5, 5)),
    "embedding": (lambda: SpectralEmbedding(9, 4), torch.tensor([0, 3, 8])),
}
each_kind = pytest.mark.parametrize("kind", KINDS)


def made(kind):
    torch.manual_seed(1)
    layer, x = KINDS[kind]
    return layer(), x


@each_kind
def test_use_in_training_makes_the_largest_singular_value_one(kind):
    layer, x = made(kind)
    for _ in range(200):
        layer(x)
    normalised = layer.eval().normalised().detach().flatten(1)
    values = torch.linalg.svdvals(layer.weight.detach().flatten(1))
    assert torch.linalg.svdvals(normalised)[0] == pytest.approx(1, abs=1e-4)
    torch.testing.assert_close(normalised * values[0], layer.weight.detach().flatten(1), rtol=1e-3, atol=1e-4)


@each_kind
def test_one_use_is_one_step_of_power_iteration(kind):
    layer, x = made(kind)
    matrix, u = layer.weight.detach().flatten(1), layer.u.clone()
    layer(x)
    v = F.normalize(matrix.T @ u, dim=0)
    expected = F.normalize(matrix @ v, dim=0)
    torch.testing.assert_close(layer.u, expected)
    sigma = expected @ matrix @ v
    layer.u.copy_(u)
    torch.testing.assert_close(layer.normalised().flatten(1), matrix / sigma)


@each_kind
def test_a_frozen_layer_iterates_and_an_evaluated_one_does_not(kind):
    layer, x = made(kind)
    layer.requires_grad_(False)
    before = layer.u.clone()
    layer(x)
    assert not torch.equal(layer.u, before)
    moved = layer.u.clone()
    layer.eval()(x)
    assert torch.equal(layer.u, moved)


def test_outputs_are_those_of_plain_layers_with_the_normalised_weight():
    linear, x = made("linear")
    with torch.no_grad():
        linear.bias.normal_()
        conv, image = made("conv")
        conv.bias.normal_()
    embedding, numbers = made("embedding")
    for layer in (linear, conv, embedding):
        layer.eval()
    torch.testing.assert_close(linear(x), x @ linear.normalised().T + linear.bias)
    plain = F.conv2d(image, conv.normalised(), conv.bias, padding=1)
    torch.testing.assert_close(conv(image), plain)
    torch.testing.assert_close(conv(image, act="relu"), plain.relu())
    assert torch.equal(embedding(numbers), embedding.normalised()[numbers])


@pytest.mark.parametrize("training", [True, False])
def test_derivatives_of_first_and_second_order(training):
    torch.manual_seed(2)
    layer = SpectralConv2d(2, 3, 3).double().train(training)
    x = torch.randn(1, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    u = layer.u.clone()

    def run(image, weight):
        layer.u.copy_(u)
        return torch.func.functional_call(layer, {"weight": weight}, (image,))

    # The vectors are constants of the derivative, but not of a finite difference: take them converged.
    for _ in range(500):
        layer.train().normalised()
    layer.train(training)
    u = layer.u.clone()
    weight = layer.weight.detach().requires_grad_()
    assert torch.autograd.gradcheck(run, (x, weight), atol=1e-4, rtol=1e-3)
    (gradient,) = torch.autograd.grad(run(x, weight).square().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), weight)
    assert second.abs().max() > 0


def test_backward_of_two_uses_sees_the_vectors_of_each():
    layer, x = made("linear")
    first = layer(x)
    second = layer(x)
    (both,) = torch.autograd.grad((first + second).sum(), layer.weight)
    layer, x = made("linear")
    (one,) = torch.autograd.grad(layer(x).sum(), layer.weight)
    (other,) = torch.autograd.grad(layer(x).sum(), layer.weight)
    torch.testing.assert_close(both, one + other)
