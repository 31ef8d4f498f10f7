"""filtered_lrelu as the GPU computes it, on emulated threads, against the plain form.

Images, taps and biases are small integers, so that every sum is exact: values and signs are equal to the bit.
"""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

import ops
from ops import reference
from ops.alias_free import filtered_lrelu_reference
from tests.ops.cuda_emulation import lrelu as emulated
from tests.ops.cuda_emulation.tensors import BF16, DOUBLE, FLOAT, Tensors, close, wide

GAIN, SLOPE, CLAMP = 2.0, 0.25, 300.0
# Rates, taps (two numbers: one filter of two axes), pads. T's and R's layers, what their gradients make of
# them, fewer taps than a kernel has room for, and other rates.
T_SAME, T_UP, T_CROP = (
    (2, 2, 12, 12, (9, 8, 9, 8)),
    (4, 2, 24, 12, (-6, -9, -6, -9)),
    (2, 2, 12, 12, (-11, -12) * 2),
)
R_SAME, R_UP = (2, 2, 12, (12, 12), (11, 10, 11, 10)), (4, 2, 24, (12, 12), (-2, -5, -2, -5))
FEWER = (2, 2, 10, (7, 11), (8, 9, 4, 5))
DOWN_4, RADIAL_UP = (2, 4, 12, 24, (40, 39, 37, 38)), (2, 2, (12, 12), 12, (11, 12, 10, 13))
RADIAL_UP_DOWN_4 = (2, 4, (12, 11), 23, (36, 35, 31, 34))
OTHERS = [
    (1, 1, 1, 1, (0, 0, 0, 0)), (3, 2, (7, 5), (3, 5), (-1, 8, 10, -2)), (4, 3, 9, 7, (5, 6, 4, 3)),
    (1, 4, 32, 32, (39, 38, 30, 38)), (4, 1, (32, 6), (5, 31), (10, 9, 36, 33)),
    (1, 2, 3, (4, 4), (2, 1, 0, 3)),
]  # fmt: skip
SHAPES = [(1, 2, 43, 33), (2, 1, 25, 131)]  # one tile and several; rows of whole vectors and not


def integers(tensors, *shape, most=3, dtype=None):
    drawn = torch.randint(-most, most + 1, shape, generator=tensors.random)
    return tensors.empty(shape, dtype, image=dtype is None).copy_(drawn)


def operands(shape, case, dtype=FLOAT):
    """The tensors' maker, x, bias and both filters."""
    tensors = Tensors(dtype)
    x, bias = integers(tensors, *shape), integers(tensors, shape[1], dtype=wide(dtype))
    taps = [(n,) if isinstance(n, int) else n for n in case[2:4]]
    # Outer sums of 24 x 24 taps stay small if few of them are not zero.
    filters = [integers(tensors, *n, most=1, dtype=wide(dtype)) for n in taps]
    return tensors, x, bias, *filters


def sampled(x, bias, up_filter, case, flip):
    """The samples in double, and their signs as the schema packs them."""
    u = reference.upfirdn2d(
        x.double() + bias.double()[:, None, None], up_filter.double(), up=case[0], padding=case[4],
        flip_filter=flip, gain=float(case[0] ** 2),
    )  # fmt: skip
    c = GAIN * torch.where(u > 0, u, SLOPE * u)
    signs = torch.where(c.abs() <= CLAMP, torch.where(u > 0, 1, 2), 0)
    rows = torch.nn.functional.pad(signs, (0, 0, 0, -u.shape[2] % 4)).unflatten(2, (-1, 4))
    shifts = torch.tensor([0, 2, 4, 6])[:, None]
    return u, signs, (rows << shifts).sum(3).to(torch.uint8)


def check(shape, case, dtype=FLOAT, *, fast, flip=False, backwards=False):
    tensors, x, bias, up_filter, down_filter = operands(shape, case, dtype)
    up, down, pads = *case[:2], case[4]
    plain = {"up": up, "down": down, "padding": pads, "flip_filter": flip}
    want = filtered_lrelu_reference(
        x.double(), up_filter.double(), down_filter.double(), bias.double(), gain=GAIN, slope=SLOPE,
        clamp=CLAMP, **plain,
    )  # fmt: skip
    u, _, signs = sampled(x, bias, up_filter, case, flip)
    y, around = tensors.empty(want.shape), torch.full((signs.numel() + 128,), 255, dtype=torch.uint8)
    kept = around[64:-64].view(signs.shape)  # no sample's signs are all ones
    how = {"up": up, "down": down, "pads": pads, "flip": flip, "backwards": backwards}
    how |= {"bias": bias, "gain": GAIN, "slope": SLOPE, "clamp": CLAMP}
    assert emulated.filtered(x, up_filter, down_filter, y, kept=kept, **how) == fast
    tensors.check_margins()
    assert (around[:64] == 255).all()
    assert (around[-64:] == 255).all()
    assert torch.equal(y, want.to(dtype))
    assert torch.equal(kept, signs)
    assert len(signs.unique()) > 3 or u.numel() < 9000  # of every kind
    y.fill_(float("nan"))
    emulated.filtered(x, up_filter, down_filter, y, **how)
    assert torch.equal(y, want.to(dtype))


def check_by_signs(shape, case, dtype=FLOAT, *, fast, offset=(0, 0), flip=False, backwards=False):
    tensors, x, bias, up_filter, down_filter = operands(shape, case, dtype)
    up, down, pads = *case[:2], case[4]
    _, signs, packed = sampled(x, bias, up_filter, case, flip)
    slopes = torch.tensor([0.0, 1.0, SLOPE], dtype=DOUBLE)[signs]
    # Sample (i, j) has the sign of (i + offset, j + offset); where there is none, it is 0.
    moved = torch.nn.functional.pad(slopes, (-offset[1], offset[1], -offset[0], offset[0]))
    u = reference.upfirdn2d(x.double(), up_filter.double(), up=up, padding=pads, flip_filter=flip)
    want = GAIN * reference.upfirdn2d(u * moved, down_filter.double(), down=down, flip_filter=flip)
    y = tensors.empty(want.shape)
    ran_fast = emulated.filtered(
        x, up_filter, down_filter, y, up=up, down=down, pads=pads, flip=flip, gain=GAIN, slope=SLOPE,
        signs=packed, offset=offset, backwards=backwards,
    )  # fmt: skip
    tensors.check_margins()
    assert ran_fast == fast
    assert torch.equal(y, want.to(dtype))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("case", [T_SAME, T_UP, T_CROP, R_SAME, R_UP, FEWER])
def test_layers_of_alias_free_networks(case, shape):
    check(shape, case, fast=True)
    check(shape, case, BF16, fast=True, flip=True)
    check_by_signs(shape, case, fast=case in (T_SAME, T_CROP), offset=(3, -5))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("case", [T_SAME, DOWN_4, RADIAL_UP, RADIAL_UP_DOWN_4])
def test_what_their_gradients_need(case, shape):
    for offset in ((0, 0), (-11, 2), (6, -23)):
        check_by_signs(shape, case, fast=True, offset=offset, flip=True)
    check_by_signs(shape, case, BF16, fast=True, offset=(-1, 1))


@pytest.mark.parametrize("case", OTHERS)
def test_any_rates_and_filters(case):
    for shape in ((2, 3, 13, 11), (1, 1, 9, 70)):
        check(shape, case, DOUBLE, fast=False)
        check(shape, case, FLOAT, fast=False, flip=True)
        check_by_signs(shape, case, BF16, fast=False, offset=(-2, 3))


@pytest.mark.parametrize("before", range(4))
def test_phases(before):
    """Every remainder of the padding by the rates, at either axis."""
    for pads in ((8 + before, 9, 12 - before, 9), (-before - 3, 4, before - 8, 4)):
        for case in (T_SAME, T_UP, R_UP):
            check((1, 1, 19, 37), (*case[:4], pads), fast=True)
        for case in (DOWN_4, RADIAL_UP_DOWN_4):
            check_by_signs((1, 1, 44, 50), (*case[:4], pads), fast=True, offset=(before, -before))


def test_no_result_depends_on_the_order_of_threads():
    for case in (T_SAME, R_UP):
        check((1, 2, 21, 37), case, fast=True, backwards=True)
    check((1, 2, 9, 11), OTHERS[1], fast=False, backwards=True)
    check_by_signs((1, 2, 41, 37), RADIAL_UP_DOWN_4, fast=True, backwards=True)


def test_more_samples_than_a_launch_takes():
    check((7, 9, 6, 5), T_SAME, fast=True)
    check((7, 9, 6, 5), OTHERS[1], fast=False)
    check_by_signs((7, 9, 6, 5), T_SAME, fast=True)


@pytest.mark.parametrize("dtype", [FLOAT, DOUBLE, BF16])
def test_rounding(dtype):
    """Of real numbers, against the plain form in double."""
    tensors = Tensors(dtype)
    x = tensors.normal(1, 3, 40, 35)
    up_filter, down_filter = (tensors.operand(n).div_(n**0.5) for n in (24, 12))
    how = {"up": 4, "down": 2, "gain": 1.3, "slope": 0.2}
    want = filtered_lrelu_reference(
        x.double(), up_filter.double(), down_filter.double(), padding=T_UP[4], **how
    )
    y = tensors.empty(want.shape)
    emulated.filtered(x, up_filter, down_filter, y, pads=T_UP[4], **how)
    close(y, want, dtype, 40)


@pytest.fixture
def dispatched():
    """hrgan::filtered_lrelu and its derivatives on the CPU, by the CUDA kernels."""
    ops.use("native", devices=("cpu",))
    library = torch.library.Library("hrgan", "IMPL")
    library.impl("filtered_lrelu", emulated.forward, "CPU", allow_override=True)
    library.impl("filtered_by_signs", emulated.by_signs, "CPU", allow_override=True)
    yield
    library._destroy()
    ops.use("auto", devices=("cpu",))


@pytest.mark.parametrize("case", [(2, 2, 3, 4, (2, 1, 1, 3)), (3, 1, (4, 2), 2, (-1, 3, 2, 1))])
def test_derivatives(dispatched, case):
    x, bias = torch.randn(2, 2, 4, 5, dtype=DOUBLE), torch.randn(2, dtype=DOUBLE)
    filters = [torch.randn(n, dtype=DOUBLE) for n in case[2:4]]
    leaves = x.requires_grad_(), bias.requires_grad_()

    def run(x, bias):
        return ops.filtered_lrelu(x, *filters, bias, up=case[0], down=case[1], padding=case[4], clamp=2.5)

    assert gradcheck(run, leaves, fast_mode=True)
    assert gradgradcheck(run, leaves, fast_mode=True)


@pytest.mark.parametrize("case", [T_SAME, T_UP, R_SAME, R_UP])
def test_derivatives_of_layers(dispatched, case):
    """By the fast kernels, exactly: of x and of the bias, and of both with respect to the gradient of y."""
    _, x, bias, *filters = operands((1, 2, 25, 22), case)

    def derivatives(run, dtype):
        leaves = [t.to(dtype).clone().requires_grad_() for t in (x, bias)]
        y = run(
            leaves[0], *(f.to(dtype) for f in filters), leaves[1], up=case[0], down=case[1], padding=case[4],
            gain=GAIN, slope=SLOPE, clamp=CLAMP,
        )  # fmt: skip
        random = torch.Generator().manual_seed(1)
        dy, v = (torch.randint(-2, 3, t.shape, generator=random).to(dtype) for t in (y, x))
        dy.requires_grad_()
        first = torch.autograd.grad(y, leaves, dy, create_graph=True)
        return *first, *torch.autograd.grad((first[0] * v).sum(), dy)

    found = derivatives(ops.filtered_lrelu, FLOAT), derivatives(filtered_lrelu_reference, DOUBLE)
    for got, want in zip(*found, strict=True):
        assert torch.equal(got.double(), want)
