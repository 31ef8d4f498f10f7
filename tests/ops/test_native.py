"""Compiled operations against the plain ones: within their own error, derivatives, layouts, odd inputs."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

import ops
from ops import filtering, reference
from ops.building.tools import cpu_level

ACTS = list(reference.DEFAULT_GAIN)
LAYOUTS = [torch.contiguous_format, torch.channels_last]
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
F4 = ops.setup_filter([1, 3, 3, 1])
FILTERS = {
    "even": F4,
    "odd": ops.setup_filter([1, 2, 1]),
    "one": torch.tensor([1.5]),
    "long": ops.setup_filter([1, 5, 10, 10, 5, 1, 2, 3]),
    "plane": torch.randn(3, 5, generator=torch.Generator().manual_seed(0)),
    "row": torch.tensor([[1.0, 2.0, -1.0]]),
}


@pytest.fixture(autouse=True)
def _native():
    ops.use("native", devices=("cpu",))
    yield
    ops.use("auto", devices=("cpu",))


def draw(*shape, dtype=torch.float64, layout=torch.contiguous_format, seed=0):
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return x.contiguous(memory_format=layout) if x.ndim == 4 else x


def close_enough(got, plain, exact):
    """At most twice the error that plain PyTorch makes in the same type, and half a rounding.

    In float64 nothing is more exact than plain PyTorch: there it is a few roundings.
    """
    rounding = torch.finfo(got.dtype).eps * exact.abs().amax().clamp_min(1e-30)
    rounding = rounding * 16 if got.dtype == torch.float64 else rounding
    error, allowed = (got.double() - exact).abs().max(), (plain.double() - exact).abs().max()
    assert got.dtype == plain.dtype
    assert got.shape == exact.shape
    assert error <= 2 * allowed + rounding / 2, f"{error} against {allowed}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("clamp", [None, 0.9])
@pytest.mark.parametrize("shape", [(2, 19, 7, 33), (3, 16, 4, 4), (1, 3, 50, 3)])
def test_affine_act_is_as_exact_as_pytorch(dtype, layout, act, clamp, shape):
    n, c, h, w = shape
    x = draw(*shape, dtype=dtype, layout=layout)
    operands = [draw(n, c, seed=1), draw(c, seed=2), draw(n, 1, h, w, seed=3)]
    small = [t.to(torch.float64 if dtype == torch.float64 else torch.float32) for t in operands]
    exact = reference.affine_act(x.double(), *[t.double() for t in small], act=act, clamp=clamp)
    plain = reference.affine_act(x, *small, act=act, clamp=clamp)
    got = ops.affine_act(x, *small, act=act, clamp=clamp)
    close_enough(got, plain, exact)
    assert got.stride() == x.stride()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("act", ["lrelu", "swish"])
def test_gradients_are_as_exact_as_pytorchs(dtype, layout, act):
    x, dy = draw(2, 20, 9, 17, dtype=dtype, layout=layout), draw(2, 20, 9, 17, dtype=dtype, seed=4)
    small = torch.float64 if dtype == torch.float64 else torch.float32
    operands = [
        draw(2, 20, seed=1).to(small),
        draw(20, seed=2).to(small),
        draw(1, 1, 9, 17, seed=3).to(small),
    ]

    def gradients(run, dtype=None):
        leaves = [(t if dtype is None else t.to(dtype)).detach().requires_grad_() for t in (x, *operands)]
        y = run(*leaves, act=act)
        return torch.autograd.grad(y, leaves, dy.to(y.dtype))

    exact = gradients(reference.affine_act, torch.float64)
    for ours, theirs, true in zip(
        gradients(ops.affine_act), gradients(reference.affine_act), exact, strict=True
    ):
        close_enough(ours, theirs, true)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("clamp", [None, 0.9])
def test_affine_act_derivatives(layout, act, clamp):
    x = draw(2, 3, 3, 4, layout=layout).requires_grad_()
    scale, shift = draw(2, 3, seed=1).requires_grad_(), draw(3, seed=2).requires_grad_()
    noise = draw(1, 1, 3, 4, seed=3).requires_grad_()

    def run(*operands):
        return ops.affine_act(*operands, act=act, clamp=clamp)

    assert gradcheck(run, (x, scale, shift, noise), fast_mode=True)
    assert gradgradcheck(run, (x, scale, shift, noise), fast_mode=True)
    # Operands of the other shapes, and some alone.
    scale, shift = draw(3, seed=1).requires_grad_(), draw(2, 3, seed=2).requires_grad_()
    assert gradgradcheck(lambda x, s, t: run(x, s, t), (x, scale, shift), fast_mode=True)
    assert gradgradcheck(lambda x: run(x), (x,), fast_mode=True)


@pytest.mark.parametrize(
    ("shape", "dim"),
    [
        ((5, 7), 1),
        ((5, 7), -1),
        ((5, 7), 0),
        ((2, 3, 4), 0),
        ((2, 3, 4), 2),
        ((6,), 0),
        ((0, 3), 1),
        ((2, 3, 2, 2, 2), 1),
    ],
)
def test_bias_act_along_any_dimension(shape, dim):
    x, b = draw(*shape).requires_grad_(), draw(shape[dim], seed=1).requires_grad_()
    ours, plain = (form.bias_act(x, b, dim=dim, act="lrelu") for form in (ops, reference))
    torch.testing.assert_close(ours, plain)
    ours, plain = (torch.autograd.grad(y.square().sum(), (x, b)) for y in (ours, plain))
    torch.testing.assert_close(ours, plain)


@pytest.mark.parametrize("act", ACTS)
def test_not_a_number_and_infinity_come_out_as_pytorch_has_them(act):
    x = torch.tensor([float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 1e30, -1e30, 3e-45]).reshape(1, 8)
    for clamp in (None, 2.0):
        torch.testing.assert_close(
            ops.bias_act(x, act=act, clamp=clamp),
            reference.bias_act(x, act=act, clamp=clamp),
            equal_nan=True,
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize(("up", "down"), [(1, 1), (2, 1), (1, 2), (2, 3), (3, 1), (4, 2)])
def test_upfirdn2d_is_as_exact_as_pytorch(dtype, layout, name, up, down):
    f = FILTERS[name].double() if dtype == torch.float64 else FILTERS[name]
    for number, (shape, padding) in enumerate(
        [((2, 5, 9, 41), (3, 4, 2, 5)), ((1, 17, 12, 8), (4, 3, 5, 4)), ((1, 2, 20, 19), (-1, 0, 2, -3))]
    ):
        x = draw(*shape, dtype=dtype, layout=layout, seed=number)
        how = {"up": up, "down": down, "padding": padding, "flip_filter": number == 1, "gain": 1.7}
        exact = reference.upfirdn2d(x.double(), f.double(), **how)
        close_enough(ops.upfirdn2d(x, f, **how), reference.upfirdn2d(x, f, **how), exact)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("act", ["linear", "lrelu", "swish"])
def test_blur_act_is_its_two_steps_in_value_and_derivatives(layout, act):
    x = draw(2, 3, 5, 6, layout=layout).requires_grad_()
    scale, shift = draw(2, 3, seed=1).requires_grad_(), draw(3, seed=2).requires_grad_()
    noise = draw(2, 1, 4, 5, seed=3).requires_grad_()
    how = {"padding": (2, 0, 1, 1), "filter_gain": 4.0, "act": act, "clamp": 1.5}

    def run(*operands):
        return ops.blur_act(operands[0], F4.double(), *operands[1:], **how)

    expected = filtering.blur_act_reference(x, F4.double(), scale, shift, noise, **how)
    torch.testing.assert_close(run(x, scale, shift, noise), expected)
    assert gradcheck(run, (x, scale, shift, noise), fast_mode=True)
    assert gradgradcheck(run, (x, scale, shift, noise), fast_mode=True)
    assert gradgradcheck(lambda x: run(x), (x,), fast_mode=True)


def test_kernels_are_compiled_with_the_vectors_this_cpu_has():
    widest = {"x86-64-v4": "AVX512", "x86-64-v3": "AVX2"}.get(cpu_level(), "DEFAULT")
    assert torch.ops.hrgan.cpu_capability() == widest


def test_views_that_are_not_dense():
    x = draw(4, 6, 10, 12)[::2, 1:5, ::3, 2:]
    b = draw(8)[::2]
    torch.testing.assert_close(ops.bias_act(x, b, act="lrelu"), reference.bias_act(x, b, act="lrelu"))
    torch.testing.assert_close(ops.upsample2d(x, F4), ops.upsample2d(x.contiguous(), F4))
    expanded = draw(1, 4, 1, 1).expand(3, 4, 5, 5)
    torch.testing.assert_close(ops.bias_act(expanded, b), reference.bias_act(expanded, b))


@pytest.mark.parametrize("name", ["affine_act", "bias_act"])
def test_volumes_with_their_channels_last(name):
    x = draw(2, 3, 4, 5, 6).contiguous(memory_format=torch.channels_last_3d).requires_grad_()
    y, plain = (getattr(form, name)(x, draw(3, seed=1), act="lrelu") for form in (ops, reference))
    torch.testing.assert_close(y, plain)
    (got,), (wanted,) = (torch.autograd.grad(z.square().sum(), x) for z in (y, plain))
    torch.testing.assert_close(got, wanted)


def test_layouts_that_differ_between_an_image_and_its_gradient():
    x = draw(2, 8, 5, 5, layout=torch.channels_last).requires_grad_()
    y = ops.bias_act(x, act="lrelu")
    dy = draw(2, 8, 5, 5, seed=1)
    (got,) = torch.autograd.grad(y, x, dy)
    (want,) = torch.autograd.grad(reference.bias_act(x, act="lrelu"), x, dy)
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("shape", [(0, 4, 5, 5), (2, 0, 5, 5), (2, 4, 0, 5)])
def test_nothing_in_nothing_out(shape):
    x = torch.zeros(shape, requires_grad=True)
    y = ops.bias_act(x, torch.zeros(shape[1]), act="lrelu")
    assert y.shape == x.shape
    y.sum().backward()
    assert x.grad.shape == x.shape
    if shape[2]:
        assert ops.upsample2d(x, F4).shape == (shape[0], shape[1], 10, 10)


def test_results_do_not_depend_on_the_number_of_threads():
    x, b = (
        draw(3, 32, 40, 40, dtype=torch.float32, layout=torch.channels_last),
        torch.zeros(32, requires_grad=True),
    )
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            y = ops.bias_act(ops.upsample2d(x, F4), b, act="lrelu")
            found.append((y.detach(), *torch.autograd.grad(y.square().sum(), b)))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))


@pytest.mark.slow
def test_more_elements_than_32_bits_count():
    x = torch.zeros(1, 1, 2**31 // 4096 + 1, 4096, dtype=torch.bfloat16)
    x[0, 0, -1, -1] = -1.0
    y = ops.bias_act(x, torch.tensor([2.0]), act="lrelu", gain=1.0)
    assert y[0, 0, -1, -1] == 1
    assert y[0, 0, -1, -2] == 2
    assert y[0, 0, 0, 0] == 2
    del y
    y = ops.upfirdn2d(x, torch.tensor([2.0]), down=2, padding=(-1, 0, 0, 0))
    assert y[0, 0, -1, -1] == -4


def test_a_third_derivative_is_refused_not_forgotten():
    x = draw(1, 2, 3, 3).requires_grad_()
    y = ops.bias_act(x, act="tanh").sum()
    (first,) = torch.autograd.grad(y, x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiable twice"):
        second.sum().backward()


OPCHECKS = {
    "affine_act": lambda x: (
        x, draw(2, 3, seed=1), draw(3, seed=2), draw(1, 1, 5, 6), "lrelu", 0.2, 1.4, 2.0
    ),
    "affine_act_backward": lambda x: (
        draw(2, 3, 5, 6, seed=5), x, x, draw(2, 3, seed=1), "lrelu", 0.2, 1.4, 2.0, [True] * 4
    ),
    "affine_act_backward_backward": lambda x: (
        draw(2, 3, 5, 6, seed=5), x.detach(), draw(2, 3, 5, 6), draw(2, 3, seed=1), draw(2, 3, 5, 6, seed=6),
        draw(2, 3, seed=7), None, draw(2, 1, 5, 6, seed=8), "tanh", 0.2, 1.4, 2.0, [True] * 4
    ),
    "upfirdn2d": lambda x: (x, F4.double(), [2, 2], [1, 1], [2, 1, 2, 1], False, 4.0),
    "blur_act": lambda x: (
        x, F4.double(), [2, 1, 2, 1], False, 4.0, None, draw(3, seed=2), None, "lrelu", 0.2, 1.4, -1.0
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OPCHECKS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_registration_holds_what_pytorch_asks_of_an_operation(name, layout):
    x = draw(2, 3, 5, 6, layout=layout).requires_grad_()
    arguments = OPCHECKS[name](x)
    torch.library.opcheck(getattr(torch.ops.hrgan, name).default, arguments)


def test_torch_compile_sees_one_graph():
    def run(x, b):
        return ops.bias_act(ops.upsample2d(x, F4), b, act="lrelu").square().sum()

    x, b = draw(2, 4, 6, 6).requires_grad_(), draw(4).requires_grad_()
    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, b), run(x, b))
    ours = torch.autograd.grad(compiled(x, b), (x, b))
    theirs = torch.autograd.grad(run(x, b), (x, b))
    torch.testing.assert_close(ours, theirs)
