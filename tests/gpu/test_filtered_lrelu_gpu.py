"""filtered_lrelu on a CUDA device against the plain form and against the CPU. `pytest -m gpu tests/gpu`"""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

import ops
from ops.alias_free import filtered_lrelu_reference
from tests.gpu.test_ops_gpu import DEVICE, DTYPES, LAYOUTS, close_enough, draw, small

pytestmark = pytest.mark.gpu

# Rates, taps up and down, pads: layers of T and R with their kernels, and filters that have none.
CASES = {
    "T": (2, 2, (12,), (12,), (9, 8, 9, 8)),
    "T up": (4, 2, (24,), (12,), (-6, -9, -6, -9)),
    "T crop": (2, 2, (12,), (12,), (-11, -12, -11, -12)),
    "R": (2, 2, (12,), (12, 12), (11, 10, 11, 10)),
    "R up": (4, 2, (24,), (12, 12), (-2, -5, -2, -5)),
    "any": (3, 1, (7, 5), (4,), (-1, 8, 10, -2)),
}
SHAPES = [(2, 3, 31, 75), (1, 5, 36, 36), (1, 2, 148, 148)]


@pytest.fixture(autouse=True)
def _native():
    ops.use("native", devices=("cuda",))
    yield
    ops.use("auto", devices=("cuda",))


def filters_of(case, dtype):
    taps = [draw(*size, dtype=small(dtype), seed=7 + number) for number, size in enumerate(case[2:4])]
    return [t / t.square().sum().sqrt() for t in taps]


def how_of(case):
    return {"up": case[0], "down": case[1], "padding": case[4], "gain": 1.4, "slope": 0.2, "clamp": 2.0}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(dtype, layout, name):
    case = CASES[name]
    filters, how = filters_of(case, dtype), how_of(case)
    for shape in SHAPES:
        x, bias = draw(*shape, dtype=dtype, layout=layout), draw(shape[1], dtype=small(dtype), seed=2)

        def results(run, kind=None):
            leaves = [t.to(kind or t.dtype).requires_grad_() for t in (x.detach(), bias)]  # noqa: B023
            y = run(leaves[0], *(f.to(kind or f.dtype) for f in filters), leaves[1], **how)
            return y, *torch.autograd.grad(y, leaves, draw(*y.shape, dtype=dtype, seed=4).to(y.dtype))

        ours, plain = results(ops.filtered_lrelu), results(filtered_lrelu_reference)
        exact = results(filtered_lrelu_reference, torch.float64)
        close_enough(ours[0].detach(), plain[0].detach(), exact[0].detach())
        assert ours[0].is_contiguous(memory_format=layout)
        if dtype in (
            torch.float64,
            torch.float32,
        ):  # else samples near zero take another slope than exact ones
            for got, theirs, true in zip(ours[1:], plain[1:], exact[1:], strict=True):
                close_enough(got, theirs, true, 64)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", CASES)
def test_signs_are_the_cpus(layout, name):
    """Of integers, whose sums are exact: equal to the bit, and so is what is computed by them."""
    case, native = CASES[name], torch.ops.hrgan
    random = torch.Generator().manual_seed(0)
    x, *filters = (
        torch.randint(-most, most + 1, size, generator=random).float()
        for most, size in ((3, (2, 3, 43, 37)), (1, case[2]), (1, case[3]))
    )
    x = x.contiguous(memory_format=layout)
    settings = [*case[:2], list(case[4]), False, 2.0, 0.25, 300.0, True]
    want, signs = native.filtered_lrelu(x, *filters, None, *settings)
    on_device = [f.to(DEVICE) for f in filters]
    got, kept = native.filtered_lrelu(x.to(DEVICE), *on_device, None, *settings)
    assert torch.equal(got.cpu(), want)
    assert torch.equal(kept.cpu(), signs)
    assert kept.stride() == signs.stride()
    settings = [*case[:2], list(case[4]), [3, -5], True, 2.0, 0.25]
    want = native.filtered_by_signs(x, *filters, signs, *settings)
    assert torch.equal(native.filtered_by_signs(x.to(DEVICE), *on_device, kept, *settings).cpu(), want)


@pytest.mark.parametrize("name", CASES)
def test_derivatives(name):
    case = CASES[name]
    filters, x = filters_of(case, torch.float64), draw(1, 2, 26, 25).requires_grad_()
    bias = draw(2, seed=2).requires_grad_()

    def run(x, bias):
        return ops.filtered_lrelu(x, *filters, bias, **how_of(case))

    assert gradcheck(run, (x, bias), fast_mode=True)
    assert gradgradcheck(run, (x, bias), fast_mode=True)


def test_registrations_keep_torchs_rules():
    case, native = CASES["R up"], torch.ops.hrgan
    for layout in LAYOUTS:
        x = draw(2, 3, 29, 30, dtype=torch.float32, layout=layout).requires_grad_()
        filters, bias = filters_of(case, torch.float32), draw(3, dtype=torch.float32)
        arguments = (x, *filters, bias, *case[:2], list(case[4]), False, 1.4, 0.2, 2.0, True)
        torch.library.opcheck(native.filtered_lrelu.default, arguments)
        signs = native.filtered_lrelu(*arguments)[1]
        arguments = (x, *filters, signs, *case[:2], list(case[4]), [1, -2], False, 1.4, 0.2)
        torch.library.opcheck(native.filtered_by_signs.default, arguments)


def test_gradients_repeat_to_the_bit():
    for name in CASES:
        case = CASES[name]
        filters, how = filters_of(case, torch.float32), how_of(case)
        x = draw(4, 16, 84, 84, dtype=torch.float32).requires_grad_()
        bias = draw(16, dtype=torch.float32, seed=2).requires_grad_()
        found = []
        for _ in range(3):
            y = ops.filtered_lrelu(x, *filters, bias, **how)
            found.append(torch.autograd.grad(y.square().sum(), (x, bias)))
        for other in found[1:]:
            assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))


def test_two_bits_a_sample_are_all_that_is_kept():
    case = CASES["T up"]
    filters, x = filters_of(case, torch.float32), draw(2, 64, 276, 276, dtype=torch.float32).requires_grad_()
    ops.filtered_lrelu(x, *filters, **how_of(case))  # the device's own memory is there
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    y = ops.filtered_lrelu(x, *filters, **how_of(case))
    samples = 276 * 4 - 15 - 23
    kept = torch.cuda.memory_allocated() - before - y.numel() * 4
    assert kept <= 1.01 * 2 * 64 * samples**2 / 4 + 4096


def test_nothing_in_nothing_out():
    case = CASES["T"]
    x = torch.zeros(0, 4, 12, 12, device=DEVICE, requires_grad=True)
    y = ops.filtered_lrelu(x, *filters_of(case, torch.float32), **how_of(case))
    y.sum().backward()
    assert y.shape[0] == 0
    assert x.grad.shape == x.shape


def test_wrong_operands_are_named():
    x, taps = draw(1, 2, 20, 20, dtype=torch.float32), torch.ones(12, device=DEVICE)
    native, rest = torch.ops.hrgan, ([9, 8, 9, 8], False, 1.4, 0.2, -1.0, False)
    for given, said in (
        ((torch.ones(33, device=DEVICE), taps, None, 2, 2), "up to 32 taps"),
        ((taps, taps, None, 5, 2), "rates are 1 to 4"),
        ((taps, torch.ones(12), None, 2, 2), "is on cpu"),
        ((taps, taps, torch.ones(3, device=DEVICE), 2, 2), "fits no channels"),
    ):
        with pytest.raises(RuntimeError, match=said):
            native.filtered_lrelu(x, *given, *rest)
    with pytest.raises(RuntimeError, match="fewer than"):
        native.filtered_lrelu(x[:, :, :2, :2], taps, taps, None, 2, 2, *rest)
    wrong = torch.zeros(2, 2, 11, 46, dtype=torch.uint8, device=DEVICE)
    with pytest.raises(RuntimeError, match="do not fit x"):
        native.filtered_by_signs(x, taps, taps, wrong, 2, 2, [9, 8, 9, 8], [0, 0], False, 1.4, 0.2)
