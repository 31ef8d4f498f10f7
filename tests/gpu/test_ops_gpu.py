"""Compiled operations on a CUDA device against the plain ones. `pytest -m gpu tests/gpu`"""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

import ops
from ops import filtering, normalisation, reference
from ops.warping import warp_grid_reference

pytestmark = pytest.mark.gpu

DEVICE = "cuda"
ACTS = list(reference.DEFAULT_GAIN)
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
LAYOUTS = [torch.contiguous_format, torch.channels_last]
# Vectors and not, in either layout; one tile and several; the networks' smallest and odd sizes.
SHAPES = [(2, 3, 9, 11), (2, 64, 4, 4), (3, 24, 17, 33), (2, 32, 64, 64), (1, 16, 129, 130)]
FILTERS = {
    "blur": [1.0, 3.0, 3.0, 1.0],
    "odd": [1.0, 2.0, 1.0],
    "eight": [1.0, 5.0, 10.0, 10.0, 5.0, 1.0, 2.0, 3.0],
    "twelve": [0.1, 0.2, 0.3, 0.5, 1.5, 2.5, 1.0, 0.3, 0.4, 0.7, 0.2, 0.9],
    "sixteen": [0.5, -0.1, 0.2, 0.3, 0.5, 1.5, 2.5, 1.0, 0.3, 0.4, 0.7, 0.2, 0.9, 0.6, 0.1, 0.8],
    "plane": [[1.0, 2.0, -1.0], [0.5, 3.0, 1.0]],
}


@pytest.fixture(autouse=True)
def _native():
    ops.use("native", devices=("cuda",))
    yield
    ops.use("auto", devices=("cuda",))


def draw(*shape, dtype=torch.float64, layout=torch.contiguous_format, seed=0):
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    x = x.to(DEVICE, dtype)
    return x.contiguous(memory_format=layout) if x.ndim == 4 else x


def small(dtype):
    return torch.float64 if dtype == torch.float64 else torch.float32


def close_enough(got, plain, exact, roundings=1):
    """At most twice the error that plain PyTorch makes in the same type, and a rounding or a few."""
    error, allowed = (got.double() - exact).abs().max(), (plain.double() - exact).abs().max()
    assert got.dtype == plain.dtype
    assert got.shape == exact.shape
    roundings = 16 if got.dtype == torch.float64 else roundings
    assert error <= 2 * allowed + roundings * torch.finfo(got.dtype).eps * exact.abs().max()


def operands_of(x, dtype):
    n, c, h, w = x.shape
    drawn = draw(n, c, seed=1), draw(c, seed=2), draw(n, 1, h, w, seed=3)
    return [value.to(small(dtype)) for value in drawn]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("act", ACTS)
def test_affine_act_and_its_gradients(dtype, layout, shape, act):
    x, dy = draw(*shape, dtype=dtype, layout=layout), draw(*shape, dtype=dtype, seed=4)
    operands = operands_of(x, dtype)

    def results(run, as_dtype=None):
        leaves = [
            (t if as_dtype is None else t.to(as_dtype)).detach().requires_grad_() for t in (x, *operands)
        ]
        y = run(*leaves, act=act)
        return y.detach(), *torch.autograd.grad(y, leaves, dy.to(y.dtype))

    exact = results(reference.affine_act, torch.float64)
    ours, plain = results(ops.affine_act), results(reference.affine_act)
    for got, theirs, true in zip(ours, plain, exact, strict=True):
        close_enough(got, theirs, true, 4)  # of a few sums, plain PyTorch's may all be exact by luck
    assert ours[0].stride() == x.stride()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize(("up", "down"), [(1, 1), (2, 1), (1, 2), (2, 3)])
def test_upfirdn2d(dtype, layout, name, up, down):
    f = torch.tensor(FILTERS[name], device=DEVICE, dtype=small(dtype))
    f = f / f.sum()
    for number, shape in enumerate(SHAPES):
        for padding in ((6, 7, 5, 7), (7, 6, 5, 7)):
            x = draw(*shape, dtype=dtype, layout=layout, seed=number)
            how = {"up": up, "down": down, "padding": padding, "flip_filter": number == 1, "gain": 4.0}
            exact = reference.upfirdn2d(x.double(), f.double(), **how)
            close_enough(ops.upfirdn2d(x, f, **how), reference.upfirdn2d(x, f, **how), exact)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("act", ["lrelu", "swish"])
def test_blur_act(dtype, layout, shape, act):
    x = draw(*shape, dtype=dtype, layout=layout)
    f = torch.tensor(FILTERS["blur"], device=DEVICE, dtype=small(dtype)) / 8
    operands = operands_of(x[:, :, :-1, :-1], dtype)
    how = {"padding": 1, "filter_gain": 4.0, "act": act, "clamp": 2.0}
    exact = filtering.blur_act_reference(x.double(), f.double(), *[t.double() for t in operands], **how)
    plain = filtering.blur_act_reference(x, f, *operands, **how)
    close_enough(ops.blur_act(x, f, *operands, **how), plain, exact)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("act", ACTS)
def test_derivatives_of_affine_act(layout, act):
    x = draw(2, 3, 3, 4, layout=layout)
    inputs = [value.requires_grad_() for value in (x, *operands_of(x, torch.float64))]

    def run(*values):
        return ops.affine_act(*values, act=act, clamp=0.9)

    assert gradcheck(run, inputs, fast_mode=True)
    assert gradgradcheck(run, inputs, fast_mode=True)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("up", "down"), [(1, 1), (2, 1), (1, 2)])
def test_derivatives_of_filters(layout, up, down):
    f = torch.tensor(FILTERS["blur"], device=DEVICE, dtype=torch.float64)
    x = draw(2, 3, 5, 6, layout=layout).requires_grad_()

    def run(x):
        return ops.upfirdn2d(x, f, up=up, down=down, padding=(2, 1, 1, 2))

    assert gradcheck(run, (x,), fast_mode=True)
    assert gradgradcheck(run, (x,), fast_mode=True)
    inputs = [x, *(value.requires_grad_() for value in operands_of(x[:, :, :-1, :-1], torch.float64))]

    def run_all(x, *operands):
        return ops.blur_act(x, f, *operands, padding=1, act="lrelu", clamp=1.5)

    assert gradcheck(run_all, inputs, fast_mode=True)
    assert gradgradcheck(run_all, inputs, fast_mode=True)


NORMS = {
    "pixel_norm": (ops.pixel_norm, reference.pixel_norm, {}),
    "stddev": (ops.minibatch_stddev, reference.minibatch_stddev, {"group": 4}),
    "stddev of slices": (ops.minibatch_stddev, reference.minibatch_stddev, {"group": 2, "channels": 2}),
    "stddev of single images": (ops.minibatch_stddev, reference.minibatch_stddev, {"group": 1, "eps": 1e-2}),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "shape", [(4, 6, 9, 11), (8, 512, 4, 4), (4, 34, 1, 1), (4, 130, 17, 33), (4, 32, 64, 64)]
)
@pytest.mark.parametrize("name", NORMS)
def test_normalisations_and_their_gradients(dtype, layout, shape, name):
    native, plain, how = NORMS[name]
    x = draw(*shape, dtype=dtype, layout=layout)

    def results(run, x):
        leaf = x.detach().requires_grad_()
        y = run(leaf, **how)
        return y.detach(), *torch.autograd.grad(y, leaf, draw(*y.shape, dtype=dtype, seed=4).to(y.dtype))

    found = results(native, x), results(plain, x), results(plain, x.double())
    for got, theirs, true in zip(*found, strict=True):
        close_enough(got, theirs, true, 4)
        assert got.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [*SHAPES, (64, 6, 4, 4), (5, 7, 1, 1)])
def test_batch_moments_repeat_to_the_bit(dtype, layout, shape):
    x = draw(*shape, dtype=dtype, layout=layout) + 3
    found = ops.batch_moments(x)
    plain, exact = normalisation.batch_moments_reference(x), normalisation.batch_moments_reference(x.double())
    for got, theirs, true in zip(found, plain, exact, strict=True):
        close_enough(got, theirs, true, 4)
    assert all(torch.equal(one, two) for one, two in zip(found, ops.batch_moments(x), strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("spread", [0.0, 0.1, 1.0])
def test_the_grid_of_a_warp(dtype, spread):
    for side in (2, 33, 256):
        linear = torch.eye(2, dtype=dtype, device=DEVICE) + spread * draw(3, 2, 2, dtype=dtype)
        offset, how = 9 * spread * draw(3, 2, dtype=dtype), {"taps": 12, "margin": 3, "centre": 5.1}
        want = warp_grid_reference(linear.double(), offset.double(), (side, side), **how)
        reach = 16 * (1 + linear.abs().sum(dim=2).max() * 3 + offset.abs().max() / side)
        atol = float(reach) * torch.finfo(dtype).eps
        torch.testing.assert_close(
            ops.warp_grid(linear, offset, (side, side), **how).double(), want, rtol=0, atol=atol
        )


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", NORMS)
def test_derivatives_of_normalisations(layout, name):
    native, _, how = NORMS[name]
    x = draw(4, 6, 3, 2, layout=layout).requires_grad_()
    assert gradcheck(lambda x: native(x, **how), (x,), fast_mode=True)
    assert gradgradcheck(lambda x: native(x, **how), (x,), fast_mode=True)


def test_normalisations_of_rows_and_of_nothing():
    z = draw(7, 514, dtype=torch.float32)
    torch.testing.assert_close(ops.pixel_norm(z), reference.pixel_norm(z))
    for shape in ((0, 6, 4, 4), (4, 6, 0, 4)):
        x = torch.zeros(shape, device=DEVICE, requires_grad=True)
        y = ops.minibatch_stddev(ops.pixel_norm(x), 2)
        assert y.shape == (shape[0], 7, *shape[2:])
        y.sum().backward()
        assert x.grad.shape == x.shape


def test_registrations_keep_torchs_rules():
    x = draw(2, 8, 5, 5, dtype=torch.float32).requires_grad_()
    scale, f = draw(2, 8, seed=1).float().requires_grad_(), torch.ones(4, device=DEVICE)
    settings = ("lrelu", 0.2, 1.0, -1.0)
    native = torch.ops.hrgan
    torch.library.opcheck(native.affine_act.default, (x, scale, None, None, *settings))
    torch.library.opcheck(native.upfirdn2d.default, (x, f, [2, 2], [1, 1], [2, 1, 2, 1], False, 4.0))
    torch.library.opcheck(
        native.blur_act.default, (x, f, [1, 1, 1, 1], False, 4.0, None, None, None, *settings)
    )
    y = native.affine_act(x, scale, None, None, *settings).detach()
    arguments = (torch.ones_like(y), y, x, scale, *settings, [True, True, True, True])
    torch.library.opcheck(native.affine_act_backward.default, arguments)
    torch.library.opcheck(native.pixel_norm.default, (x, 1e-8))
    torch.library.opcheck(native.pixel_norm_backward.default, (x.detach(), x, 1e-8))
    torch.library.opcheck(native.minibatch_stddev.default, (x, 2, 2, 1e-8))
    torch.library.opcheck(
        native.minibatch_stddev_backward.default, (draw(2, 10, 5, 5).float(), x, 2, 2, 1e-8)
    )


def test_views_that_are_not_dense():
    x, b = draw(4, 6, 10, 12)[::2, 1:5, ::3, 2:], draw(8)[::2]
    f = torch.tensor(FILTERS["blur"], device=DEVICE)
    torch.testing.assert_close(ops.bias_act(x, b, act="lrelu"), reference.bias_act(x, b, act="lrelu"))
    torch.testing.assert_close(ops.upsample2d(x, f), ops.upsample2d(x.contiguous(), f))
    out_of_line = draw(1 + 2 * 8 * 4 * 4, dtype=torch.float16)[1:].view(2, 8, 4, 4)
    torch.testing.assert_close(
        ops.bias_act(out_of_line, act="relu"), reference.bias_act(out_of_line, act="relu")
    )
    expanded = draw(1, 4, 1, 1).expand(3, 4, 5, 5)
    torch.testing.assert_close(ops.bias_act(expanded, b), reference.bias_act(expanded, b))


@pytest.mark.parametrize("shape", [(0, 4, 5, 5), (2, 0, 5, 5), (2, 4, 0, 5)])
def test_nothing_in_nothing_out(shape):
    x = torch.zeros(shape, device=DEVICE, requires_grad=True)
    b = torch.zeros(shape[1], device=DEVICE, requires_grad=True)
    y = ops.bias_act(x, b, act="lrelu")
    assert y.shape == x.shape
    y.sum().backward()
    assert x.grad.shape == x.shape
    assert not b.grad.any()


def test_gradients_repeat_to_the_bit():
    x, f = draw(4, 32, 96, 96, dtype=torch.float32), torch.ones(4, device=DEVICE)
    found = []
    for _ in range(3):
        leaves = [x.clone().requires_grad_(), *operands_of(x, torch.float32)]
        leaves = [leaf.requires_grad_() for leaf in leaves]
        y = ops.filter2d(ops.affine_act(*leaves, act="lrelu"), f)
        found.append(torch.autograd.grad(y.square().sum(), leaves))
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))


def test_a_graph_replays_forward_and_backward():
    x, dy = draw(2, 8, 16, 16, dtype=torch.float32), draw(2, 8, 16, 16, dtype=torch.float32, seed=1)
    scale, shift, noise = operands_of(x, torch.float32)
    f = torch.tensor(FILTERS["blur"], device=DEVICE) / 8
    native = torch.ops.hrgan

    def run():
        y = native.blur_act(x, f, [2, 1, 2, 1], False, 1.0, scale, shift, noise, "lrelu", 0.2, 1.0, -1.0)
        return y, *native.affine_act_backward(dy, y, x, scale, "lrelu", 0.2, 1.0, -1.0, [True] * 4)

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = run()
    x.copy_(draw(2, 8, 16, 16, dtype=torch.float32, seed=5))
    graph.replay()
    for got, want in zip(captured, run(), strict=True):
        assert torch.equal(got, want)


def test_work_is_on_the_current_stream():
    x = draw(8, 64, 128, 128, dtype=torch.float32)
    want = reference.bias_act(x * 2, act="lrelu")
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        torch.cuda._sleep(50_000_000)  # were the kernel elsewhere, it would not see the product
        x.mul_(2)
        y = ops.bias_act(x, act="lrelu")
    side.synchronize()
    torch.testing.assert_close(y, want)


def test_wrong_operands_are_named():
    x, native = draw(2, 8, 5, 5, dtype=torch.float32), torch.ops.hrgan
    settings = ("lrelu", 0.2, 1.0, -1.0)
    for scale, said in (
        (draw(7).float(), "fits no channels"),
        (draw(8), "expected Float"),
        (torch.ones(8), "is on cpu"),
    ):
        with pytest.raises(RuntimeError, match=said):
            native.affine_act(x, scale, None, None, *settings)
    with pytest.raises(RuntimeError, match="does not fit"):
        native.affine_act(x, None, None, torch.ones(2, 1, 5, 4, device=DEVICE), *settings)
    with pytest.raises(RuntimeError, match="unknown activation"):
        native.affine_act(x, None, None, None, "gelu", 0.2, 1.0, -1.0)
    with pytest.raises(RuntimeError, match="smaller than the filter"):
        native.upfirdn2d(x, torch.ones(9, device=DEVICE), [1, 1], [1, 1], [0, 0, 0, 0], False, 1.0)


@pytest.mark.parametrize("samples", [1, 3])
def test_more_elements_than_32_bits_count(samples):
    if torch.cuda.get_device_properties(0).total_memory < 40 * 2**30:
        pytest.skip("gpu: less than 40 GiB of memory")
    x = torch.zeros(samples, 1, 2**31 // 64 + 1, 64, dtype=torch.bfloat16, device=DEVICE)
    x[-1, 0, -1, -1] = -1.0
    y = ops.bias_act(x, torch.tensor([2.0], device=DEVICE), act="lrelu", gain=1.0)
    assert y[-1, 0, -1, -1] == 1
    assert y[-1, 0, -1, -2] == 2
    del y
    for f, want in ((torch.tensor([2.0]), -4), (torch.tensor([[2.0]]), -2)):  # a fast kernel, and the other
        y = ops.upfirdn2d(x, f.to(DEVICE))
        assert y[-1, 0, -1, -1] == want
        assert not y[-1, 0, -1, -2]
        del y
