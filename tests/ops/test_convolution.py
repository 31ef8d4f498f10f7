"""Convolutions and their closed derivatives against PyTorch's own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import gradcheck, gradgradcheck
from torch.fx.experimental.proxy_tensor import make_fx

import ops
from ops import convolution


@pytest.fixture(params=["reference", "native"], autouse=True)
def _backend(request):
    ops.use(request.param, devices=("cpu",))
    yield
    ops.use("auto", devices=("cpu",))


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (1, 1), (2, 0), (2, 1)])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("size", [(5, 6), (6, 3)])
def test_derivatives_of_both_orders(transposed, stride, padding, groups, size):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, *size, dtype=torch.float64, generator=g, requires_grad=True)
    shape = (4, 1, 3, 3) if transposed else (2, 4 // groups, 3, 3)
    weight = torch.randn(shape, dtype=torch.float64, generator=g, requires_grad=True)
    ours = convolution.conv_transpose2d if transposed else convolution.conv2d
    theirs = F.conv_transpose2d if transposed else F.conv2d

    def run(x, weight):
        return ours(x, weight, stride=stride, padding=padding, groups=groups)

    expected = theirs(x, weight, stride=stride, padding=padding, groups=groups)
    torch.testing.assert_close(run(x, weight), expected)
    assert gradcheck(run, (x, weight), fast_mode=True)
    assert gradgradcheck(run, (x, weight), fast_mode=True)


def test_third_derivatives_close_too():
    x = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)

    def gradient(x, weight):
        y = convolution.conv2d(x, weight, stride=2, padding=1).square().sum()
        (dx,) = torch.autograd.grad(y, x, create_graph=True)
        return dx

    assert gradgradcheck(gradient, (x, weight), fast_mode=True)


def test_a_penalty_has_the_gradient_that_pytorchs_own_convolution_gives():
    """R1 in small: the gradient of a gradient's norm reaches every weight alike."""
    g = torch.Generator().manual_seed(1)
    x = torch.randn(2, 3, 9, 9, generator=g, dtype=torch.float64, requires_grad=True)
    weights = [torch.randn(s, generator=g, dtype=torch.float64) for s in ((4, 3, 3, 3), (5, 4, 3, 3))]

    def gradients(conv):
        leaves = [w.clone().requires_grad_() for w in weights]
        y = F.softplus(conv(x, leaves[0], stride=1, padding=1))
        y = conv(y, leaves[1], stride=2, padding=0).square().sum()
        (dx,) = torch.autograd.grad(y, x, create_graph=True)
        return torch.autograd.grad(dx.square().sum(), leaves)

    for ours, theirs in zip(gradients(convolution.conv2d), gradients(F.conv2d), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("channels", [(5, 4), (256, 272)])
def test_the_weight_gradient_that_is_taken_by_phases(transposed, layout, channels):
    """Where the CPU splits it, into phases or products: as exact as PyTorch's own, against float64."""
    g = torch.Generator().manual_seed(0)
    outputs, inputs = channels
    small, large = torch.randn(2, outputs, 17, 16, generator=g), torch.randn(2, inputs, 35, 33, generator=g)
    x, dy = (small, large) if transposed else (large, small)
    x, dy = x.contiguous(memory_format=layout), dy.contiguous(memory_format=layout)
    weight = torch.randn(outputs, inputs, 3, 3, generator=g)

    def gradients(ours, dtype):
        conv, plain = convolution.conv2d, F.conv2d
        if transposed:
            conv, plain = convolution.conv_transpose2d, F.conv_transpose2d
        leaves = [t.to(dtype).requires_grad_() for t in (x.detach(), weight.detach())]
        return torch.autograd.grad((conv if ours else plain)(*leaves, stride=2), leaves, dy.to(dtype))

    exact = gradients(False, torch.float64)
    rounding = torch.finfo(torch.float32).eps
    for ours, theirs, true in zip(
        gradients(True, torch.float32), gradients(False, torch.float32), exact, strict=True
    ):
        error, allowed = (ours - true).abs().max(), (theirs - true).abs().max()
        assert error <= 2 * allowed + rounding * true.abs().max()


def second_derivative(x, weight):
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
    y = convolution.conv2d(x, weight, stride=2)
    (dx,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    return torch.autograd.grad(dx.square().sum(), [x, weight])


@pytest.mark.parametrize("_backend", ["native"], indirect=True)  # torch's own is not traced by every version
@pytest.mark.parametrize("tracing", ["real", "fake", "symbolic"])
def test_a_trace_of_a_second_derivative_holds_atens_convolutions_alone(tracing):
    x, weight = torch.randn(2, 4, 9, 9), torch.randn(5, 4, 3, 3)
    traced = make_fx(second_derivative, tracing_mode=tracing)(x, weight)
    calls = {node.target for node in traced.graph.nodes if node.op == "call_function"}
    assert torch.ops.aten.convolution.default in calls
    assert not [call for call in calls if "hrgan" in str(call)]
    for again, once in zip(traced(x, weight), second_derivative(x, weight), strict=True):
        assert torch.equal(again, once)


@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode, FakeTensorMode])
def test_nothing_is_recorded_where_nothing_is_asked_for(guard):
    with guard():
        y = convolution.conv2d(torch.randn(2, 4, 9, 9), torch.randn(5, 4, 3, 3), stride=2)
    assert y.shape == (2, 5, 4, 4)
    assert y.grad_fn is None


def test_a_compiler_sees_through_it():
    weight = torch.randn(5, 4, 3, 3)

    def loss(x):
        return convolution.conv2d(x, weight, padding=1).relu().sum()

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    for size in (2, 3, 7):  # the last ones with a batch of any size
        x = torch.randn(size, 4, 9, 9, requires_grad=True)
        torch.testing.assert_close(torch.autograd.grad(compiled(x), x), torch.autograd.grad(loss(x), x))


def test_the_schema_says_what_the_operation_does():
    ops.use("native", devices=("cpu",))
    x, weight = (torch.randn(s, requires_grad=True) for s in ((2, 4, 9, 9), (5, 4, 3, 3)))
    torch.library.opcheck(torch.ops.hrgan.conv2d.default, (x, weight, 2, 1, 1, False))
