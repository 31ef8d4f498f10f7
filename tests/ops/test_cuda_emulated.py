"""affine_act and its gradients as the GPU computes them, on emulated threads, against the plain form."""

from __future__ import annotations

import pytest
import torch

from ops import reference
from tests.ops.cuda_emulation import library as emulated
from tests.ops.cuda_emulation.tensors import BF16, DOUBLE, FLOAT, Tensors, close, wide

ACTS = ("linear", "relu", "lrelu", "tanh", "sigmoid", "softplus", "swish")
# N, C, pixels, channels-last, offset, whether float32 goes by vectors.
SHAPES = {
    "small planes": (2, 3, (8, 8), False, 0, True),
    "planes of two vectors": (3, 70, (2, 4), False, 0, True),
    "odd planes": (2, 3, (5, 7), False, 0, False),
    "one row a warp": (1, 40, (16, 16), False, 0, True),
    "several tiles": (1, 3, (96, 128), False, 0, True),
    "several tiles of single pixels": (1, 3, (33, 65), False, 0, False),
    "planes out of line": (2, 3, (8, 8), False, 1, False),
    "lines": (2, 3, (10,), False, 0, False),
    "no pixels": (5, 6, (), False, 0, False),
    "no pixels, vectors": (3, 1056, (), False, 0, True),
    "channels": (2, 64, (5, 7), True, 0, True),
    "three channels": (2, 3, (9, 11), True, 0, False),
    "channels that fill no chunk": (2, 96, (6, 6), True, 0, True),
    "many channels": (1, 320, (4, 3), True, 0, True),
    "many pixels": (1, 8, (64, 96), True, 0, True),
    "channels out of line": (2, 16, (4, 4), True, 1, False),
}
CASES = [
    *((name, FLOAT) for name in SHAPES),
    *((name, BF16) for name in ("small planes", "odd planes", "one row a warp", "channels", "many pixels")),
    *((name, DOUBLE) for name in ("small planes", "channels")),
]
cases = pytest.mark.parametrize(("shape", "dtype"), CASES, ids=lambda value: str(value))


def tensors_for(shape, dtype, seed=0):
    n, c, pixels, last, offset, _ = SHAPES[shape]
    return Tensors(dtype, last, offset, seed), n, c, pixels


@cases
def test_forward(shape, dtype):
    tensors, n, c, pixels = tensors_for(shape, dtype)
    x, y = tensors.normal(n, c, *pixels), tensors.empty((n, c, *pixels))
    scale, shift, noise = tensors.operand(n, c), tensors.operand(c), tensors.operand(n, 1, *pixels)
    vectors = emulated.affine("forward", [x], [scale, shift], noise, [y], act="lrelu", gain=1.4, clamp=1.0)
    assert vectors == SHAPES[shape][5] or dtype != FLOAT
    want = reference.affine_act(
        x.double(), scale.double(), shift.double(), noise.double(), act="lrelu", gain=1.4, clamp=1.0
    )
    close(y, want, dtype)
    tensors.check_margins()


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("last", [False, True])
def test_forward_of_each_activation_and_operand(act, last):
    tensors = Tensors(FLOAT, last)
    x = tensors.normal(2, 8, 4, 4)
    x[0, 0, 0] = torch.tensor([30.0, -30.0, 0.0, 100.0])
    operands = {
        "scale": tensors.operand(8),
        "shift": tensors.operand(2, 8),
        "noise": tensors.operand(1, 1, 4, 4),
    }
    for wanted in ((), ("scale",), ("shift",), ("noise",), ("scale", "noise"), ("scale", "shift", "noise")):
        given = {name: operands[name] if name in wanted else None for name in operands}
        y = tensors.empty(x.shape)
        emulated.affine(
            "forward", [x], [given["scale"], given["shift"]], given["noise"], [y], act=act, gain=1.3
        )
        doubles = [None if value is None else value.double() for value in given.values()]
        close(y, reference.affine_act(x.double(), *doubles, act=act, gain=1.3), FLOAT)
    tensors.check_margins()


def test_forward_lets_nan_and_infinity_pass_as_torch_does():
    x = torch.tensor([[float("nan"), float("inf"), -float("inf"), 1.0] * 4])[:, :, None, None]
    for act in ("linear", "relu", "lrelu", "sigmoid", "softplus"):
        for clamp in (-1.0, 2.0):
            y = torch.empty_like(x)
            emulated.affine("forward", [x], [None, None], None, [y], act=act, clamp=clamp)
            want = reference.affine_act(x, act=act, gain=1.0, clamp=clamp if clamp > 0 else None)
            torch.testing.assert_close(y, want, equal_nan=True)


def graph(x, scale, shift, noise, **settings):
    """Leaves in double, [N, C] each, and the plain y (and what derivatives are computed from) of them."""
    n, c = x.shape[:2]
    leaves = [
        x.double(),
        scale.double().expand(n, c),
        shift.double().expand(n, c),
        noise.double().expand(n, 1, *x.shape[2:]),
    ]
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    y = reference.affine_act(*leaves, **settings)
    if settings["act"] == "swish":
        return leaves, y, reference.affine_act(*leaves)
    return leaves, y, y


def backward_of(shape, dtype, backwards=False, **settings):
    """Kernel's and plain gradients of x, scale, shift and noise."""
    tensors, n, c, pixels = tensors_for(shape, dtype)
    x, dy = tensors.normal(n, c, *pixels), tensors.normal(n, c, *pixels)
    scale, shift, noise = tensors.operand(n, c), tensors.operand(c), tensors.operand(n, 1, *pixels)
    leaves, y, kept = graph(x, scale, shift, noise, **settings)
    ref = tensors.empty(x.shape).copy_(kept.detach())
    dx = tensors.empty(x.shape)
    sums = [tensors.empty((n, c), wide(dtype), image=False) for _ in range(2)]
    dnoise = tensors.empty((n, 1, *pixels), wide(dtype), image=False)
    given = {**settings, "clamp": settings.get("clamp") or -1.0, "backwards": backwards}
    emulated.affine("backward", [dy, ref, x], [scale], None, [dx], sums, dnoise, **given)
    tensors.check_margins()
    want = torch.autograd.grad(y, leaves, dy.double())
    return [dx, *sums, dnoise], want


@cases
def test_backward(shape, dtype):
    clamp = None if dtype == BF16 else 1.0  # in bfloat16 y may be rounded to what is clamped
    got, want = backward_of(shape, dtype, act="lrelu", alpha=0.2, gain=1.4, clamp=clamp)
    summed = got[0].numel() // got[1].numel(), got[0].shape[1]
    close(got[0], want[0], dtype)
    for value, expected, count in zip(got[1:], want[1:], (summed[0], summed[0], summed[1]), strict=True):
        close(value, expected, FLOAT if dtype == BF16 else dtype, count)


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("clamp", [None, 0.5])
def test_backward_of_each_activation(act, clamp):
    for shape in ("small planes", "no pixels"):
        got, want = backward_of(shape, DOUBLE, act=act, gain=1.3, clamp=clamp)
        for value, expected in zip(got, want, strict=True):
            torch.testing.assert_close(value, expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("shape", ["one row a warp", "planes of two vectors", "channels", "many pixels"])
def test_no_result_depends_on_the_order_of_threads(shape):
    runs = [backward_of(shape, FLOAT, backwards, act="lrelu", gain=1.0)[0] for backwards in (False, True)]
    for one, other in zip(*runs, strict=True):
        assert torch.equal(one, other)


def test_what_is_not_needed_is_not_computed():
    for shape in ("one row a warp", "channels"):
        tensors, n, c, pixels = tensors_for(shape, FLOAT)
        dy = tensors.normal(n, c, *pixels)
        dshift = tensors.empty((n, c), image=False)
        emulated.affine("backward", [dy, None, None], [None], None, [None], [None, dshift], gain=2.0)
        close(dshift, 2 * dy.double().sum(dim=(2, 3)), FLOAT, 256)
        tensors.check_margins()


def check_second(shape, dtype, act, clamp=None, tolerance=None):
    """The gradients of the sum of first gradients times dd-operands, by the kernel and by autograd."""
    tensors, n, c, pixels = tensors_for(shape, dtype)
    x, dy, ddx = (tensors.normal(n, c, *pixels) for _ in range(3))
    scale, ddscale, ddshift = (tensors.operand(n, c) for _ in range(3))
    shift, noise, ddnoise = tensors.operand(c), tensors.operand(1, 1, *pixels), tensors.operand(n, 1, *pixels)
    leaves, y, kept = graph(x, scale, shift, noise, act=act, gain=1.3, clamp=clamp)
    ref = tensors.empty(x.shape).copy_(kept.detach())
    d_dy, d_ref, d_x = (tensors.empty(x.shape) for _ in range(3))
    d_scale = tensors.empty((n, c), wide(dtype), image=False)
    emulated.affine(
        "backward_backward",
        [dy, ref, x, ddx],
        [scale, ddscale, ddshift],
        ddnoise,
        [d_dy, d_ref, d_x],
        [d_scale],
        act=act,
        gain=1.3,
        clamp=clamp or -1.0,
    )
    tensors.check_margins()
    dy_leaf = dy.double().requires_grad_()
    first = torch.autograd.grad(y, leaves, dy_leaf, create_graph=True)
    weights = [t.double() for t in (ddx, ddscale, ddshift, ddnoise)]
    total = sum((grad * weight).sum() for grad, weight in zip(first, weights, strict=True))
    # What reaches ref goes on to x, scale and shift.
    through = torch.autograd.grad(kept, leaves, d_ref.double(), retain_graph=True)
    want_dy, want_x, want_scale, want_shift = torch.autograd.grad(
        total, [dy_leaf, *leaves[:3]], allow_unused=True, materialize_grads=True
    )
    pairs = [
        (d_dy, want_dy),
        (d_x.double() + through[0], want_x),
        (d_scale.double() + through[1], want_scale),
        (through[2], want_shift),
    ]
    for got, want in pairs:
        if tolerance:
            torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance)
        else:
            close(got, want, dtype, 4 * x[0, 0].numel())


@pytest.mark.parametrize("act", ACTS)
def test_backward_of_backward_of_each_activation(act):
    check_second("small planes", DOUBLE, act, tolerance=1e-7)
    check_second("no pixels", DOUBLE, act, clamp=0.7, tolerance=1e-7)


@pytest.mark.parametrize("shape", SHAPES)
def test_backward_of_backward(shape):
    check_second(shape, FLOAT, "lrelu", clamp=1.0)


def test_more_samples_than_a_grid_takes():
    n = 1030
    dy, dx, x = torch.randn(n, 1, 1, 2), torch.empty(n, 1, 1, 2), torch.randn(n, 1, 1, 2)
    sums, dnoise = [torch.empty(n, 1), torch.empty(n, 1)], torch.empty(n, 1, 1, 2)
    emulated.affine("backward", [dy, None, x], [None], None, [dx], sums, dnoise)
    assert torch.equal(dx, dy)
    assert torch.equal(dnoise, dy)
    torch.testing.assert_close(sums[0], (dy * x).sum(dim=(2, 3)))
    torch.testing.assert_close(sums[1], dy.sum(dim=(2, 3)))
