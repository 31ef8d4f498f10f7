"""Winograd's convolution against the plain one: values, gradients, where it is taken, threads."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

import ops
from ops import convolution

CHANNELS_LAST = torch.channels_last
LARGE = (8, 64, 8, 9)


@pytest.fixture(autouse=True)
def _native():
    ops.use("native", devices=("cpu",))


def drawn(*shape: int, layout: torch.memory_format = CHANNELS_LAST, seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=g).contiguous(memory_format=layout)


def weight_gradient(x, dy):
    shape = (dy.shape[1], x.shape[1], 3, 3)
    return torch.nn.grad.conv2d_weight(x, shape, dy, padding=1)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 6), (7, 4), (16, 16)])
@pytest.mark.parametrize(("inputs", "outputs"), [(16, 16), (16, 48), (64, 32)])
@pytest.mark.parametrize("layout", [CHANNELS_LAST, torch.contiguous_format])
def test_as_exact_as_pytorchs_own(size, inputs, outputs, layout):
    x, dy = drawn(3, inputs, *size, layout=layout), drawn(3, outputs, *size, layout=layout, seed=1)
    weight = drawn(outputs, inputs, 3, 3, seed=2)
    pairs = [
        (torch.ops.hrgan.winograd(x, weight), lambda a, w, g: F.conv2d(a, w, padding=1)),
        (torch.ops.hrgan.winograd_weight(x, dy), lambda a, w, g: weight_gradient(a, g)),
    ]
    for ours, plain in pairs:
        theirs, true = plain(x, weight, dy), plain(x.double(), weight.double(), dy.double())
        error, allowed = (ours - true).abs().max(), (theirs - true).abs().max()
        assert error <= 3 * allowed + 4 * torch.finfo(torch.float32).eps * true.abs().max()


class Seen(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if "winograd" in str(func) or "convolution" in str(func):
            self.names.append(func.__name__.split(".")[0])
        return func(*args, **(kwargs or {}))


def seen(x, weight, **settings) -> set[str]:
    x, weight = x.requires_grad_(), weight.requires_grad_()
    with Seen() as mode:
        y = convolution.conv2d(x, weight, **settings)
        (dx,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        torch.autograd.grad(dx.square().sum(), [x, weight])
    return set(mode.names)


@pytest.mark.parametrize(("outputs", "padding"), [(64, 1), (75, 1), (64, 2), (75, 2)])
def test_large_convolutions_take_it_in_both_derivatives(outputs, padding):
    taken = {"winograd", "winograd_weight"}
    assert seen(drawn(*LARGE), drawn(outputs, 64, 3, 3), padding=padding) == taken
    assert seen(drawn(8, 75, 8, 9), drawn(outputs, 75, 3, 3), padding=padding) == taken


def test_other_convolutions_do_not_take_it():
    planes = torch.contiguous_format
    others = [
        (drawn(*LARGE, layout=planes), drawn(64, 64, 3, 3, layout=planes), {"padding": 1}),
        (drawn(*LARGE).double(), drawn(64, 64, 3, 3).double(), {"padding": 1}),
        (drawn(*LARGE).bfloat16(), drawn(64, 64, 3, 3).bfloat16(), {"padding": 1}),
        (drawn(*LARGE), drawn(64, 64, 3, 3), {"padding": 0}),
        (drawn(*LARGE), drawn(64, 64, 3, 3), {"padding": 1, "stride": 2}),
        (drawn(*LARGE), drawn(64, 32, 3, 3), {"padding": 1, "groups": 2}),
        (drawn(*LARGE), drawn(64, 64, 1, 1), {}),
        (drawn(*LARGE), drawn(30, 64, 3, 3), {"padding": 1}),
        (drawn(*LARGE), drawn(64, 64, 3, 3), {"padding": 3}),
        (drawn(1, 64, 8, 8), drawn(64, 64, 3, 3), {"padding": 1}),
    ]
    for x, weight, settings in others:
        assert not [name for name in seen(x, weight, **settings) if "winograd" in name]


@pytest.mark.parametrize("channels", [(64, 64), (75, 90)])
@pytest.mark.parametrize("padding", [1, 2])
@pytest.mark.parametrize("transposed", [False, True])
def test_derivatives_of_both_orders_through_it(transposed, padding, channels):
    inputs, outputs = channels
    more = (1 - padding if transposed else padding - 1) * 2
    x, dy = drawn(8, inputs, 8, 9), drawn(8, outputs, 8 + more, 9 + more, seed=2)
    weight = drawn(*((inputs, outputs) if transposed else (outputs, inputs)), 3, 3, seed=1)

    def derivatives(conv, dtype):
        a, w = (t.to(dtype, copy=True).requires_grad_() for t in (x, weight))
        y = conv(a, w, padding=padding)
        first = torch.autograd.grad((y * dy).sum() + y.square().mean(), [a, w], create_graph=True)
        second = torch.autograd.grad(sum(g.square().mean() for g in first), [a, w])
        return y, *first, *second

    names = "conv_transpose2d" if transposed else "conv2d"
    true = derivatives(getattr(F, names), torch.float64)
    for ours, wanted in zip(derivatives(getattr(convolution, names), torch.float32), true, strict=True):
        assert (ours - wanted).norm() <= 1e-5 * wanted.norm()


def test_bits_do_not_depend_on_threads():
    x, weight, dy = drawn(5, 64, 33, 31), drawn(96, 64, 3, 3, seed=1), drawn(5, 96, 33, 31, seed=2)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append((torch.ops.hrgan.winograd(x, weight), torch.ops.hrgan.winograd_weight(x, dy)))
    finally:
        torch.set_num_threads(before)
    for one, two in zip(*found, strict=True):
        assert torch.equal(one, two)


def test_the_schemas_say_what_the_operations_do():
    x, weight, dy = drawn(2, 16, 5, 6), drawn(32, 16, 3, 3), drawn(2, 32, 5, 6)
    tests = ("test_schema", "test_faketensor")
    torch.library.opcheck(torch.ops.hrgan.winograd.default, (x, weight), test_utils=tests)
    torch.library.opcheck(torch.ops.hrgan.winograd_weight.default, (x, dy), test_utils=tests)
