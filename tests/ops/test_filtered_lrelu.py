"""The leaky ReLU between filters: against its three steps, its derivatives, and what is kept for them."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

import ops
from ops.alias_free import filtered_lrelu_reference

LAYOUTS = [torch.contiguous_format, torch.channels_last]
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
GENERATOR = torch.Generator().manual_seed(0)
SHORT, LONG, PLANE = (
    torch.randn(s, generator=GENERATOR) / n for s, n in (((5,), 2), ((12,), 3), ((4, 7), 5))
)
FORMS = {  # filters, and what is said beside them
    "2 to 2": (LONG, LONG, {"up": 2, "down": 2, "padding": (9, 8, 7, 10)}),
    "4 to 2": (LONG, SHORT, {"up": 4, "down": 2, "padding": (-6, -9, 5, -3)}),
    "3 to 1": (SHORT, None, {"up": 3, "padding": 4, "flip_filter": True}),
    "1 to 3": (None, SHORT, {"down": 3, "clamp": 0.5}),
    "plane down": (LONG, PLANE, {"up": 2, "down": 2, "padding": (6, 7, 3, 4), "clamp": 1.0}),
    "plane up": (PLANE, SHORT, {"up": 2, "down": 4, "padding": 5, "flip_filter": True}),
    "alone": (None, None, {"clamp": 0.7, "slope": 0.1, "gain": 2.0}),
    "more zeros than taps": (SHORT[:2], SHORT[:2], {"up": 4, "down": 4, "padding": 3, "gain": -1.5}),
}


@pytest.fixture(autouse=True)
def _native():
    ops.use("native", devices=("cpu",))
    yield
    ops.use("auto", devices=("cpu",))


@pytest.fixture(params=FORMS.values(), ids=FORMS)
def form(request):
    """Two filters and the settings."""
    return request.param


def draw(*shape, dtype=torch.float64, layout=torch.contiguous_format, seed=0):
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return x.contiguous(memory_format=layout) if x.ndim == 4 else x


def exact(f):
    return None if f is None else f.double()


def results(run, x, form, dtype):
    """The image, and the gradients of x and bias for one drawn dy, with operands of a type."""
    up_filter, down_filter, how = form
    small = torch.float64 if dtype == torch.float64 else torch.float32
    filters = [f if f is None else f.to(small) for f in (up_filter, down_filter)]
    leaves = [x.detach().to(dtype).requires_grad_(), draw(x.shape[1], seed=1).to(small).requires_grad_()]
    y = run(leaves[0], *filters, leaves[1], **how)
    dy = draw(*y.shape, seed=2).to(torch.bfloat16).to(dtype)
    return y, *torch.autograd.grad(y, leaves, dy)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_as_exact_as_its_three_steps(form, dtype, layout):
    for shape in ((2, 19, 13, 17), (3, 5, 17, 12)):
        x = draw(*shape, dtype=dtype, layout=layout)
        true, plain, got = (
            results(run, x, form, t)
            for run, t in (
                (filtered_lrelu_reference, torch.float64),
                (filtered_lrelu_reference, dtype),
                (ops.filtered_lrelu, dtype),
            )
        )
        assert got[0].is_contiguous(memory_format=layout)
        for ours, theirs, value in zip(got, plain, true, strict=True):
            # A sample that rounding moves over a kink moves a gradient by far more than rounding does, so
            # of all errors the mean counts; in float64 none does.
            rounding = torch.finfo(dtype).eps * value.abs().amax() * (32 if dtype == torch.float64 else 1)
            error, allowed = ((z.double() - value).abs().mean() for z in (ours, theirs))
            assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
            assert error <= 2 * allowed + rounding / 2, f"{error} against {allowed}"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_derivatives(form, layout):
    up_filter, down_filter, how = form
    x, bias = draw(2, 3, 7, 6, layout=layout).requires_grad_(), draw(3, seed=1).requires_grad_()
    how = {**how, "padding": 8} if up_filter is not None else how

    def run(x, bias):
        return ops.filtered_lrelu(x, exact(up_filter), exact(down_filter), bias, **how)

    assert gradcheck(run, (x, bias), fast_mode=True)
    assert gradgradcheck(run, (x, bias), fast_mode=True)


def test_tiles_and_threads_leave_no_trace():
    x = draw(1, 3, 72, 140, dtype=torch.float32, layout=torch.channels_last)
    form = LONG, LONG, {"up": 2, "padding": 7, "clamp": 1.0}  # more rows and columns than a tile has
    true = results(filtered_lrelu_reference, x, form, torch.float64)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(results(ops.filtered_lrelu, x, form, torch.float32))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    for got, value in zip(found[0], true, strict=True):
        assert (got - value).norm() <= 1e-5 * value.norm()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_signs_are_laid_out_as_the_schema_says(layout):
    x = draw(2, 18, 5, 6, layout=layout)
    how = 2, 1, [3, 4, 5, 4], False, 1.5, 0.2, 1.0
    signs = torch.ops.hrgan.filtered_lrelu(x, exact(SHORT), torch.ones(1).double(), None, *how, True)[1]
    sampled = ops.upfirdn2d(x, exact(SHORT), up=2, padding=how[2], gain=4.0)
    assert signs.shape == (2, 18, -(-sampled.shape[2] // 4), sampled.shape[3])
    assert signs.is_contiguous(memory_format=layout)
    rows = torch.stack([signs >> 2 * i & 3 for i in range(4)], dim=3).flatten(2, 3)
    assert not rows[:, :, sampled.shape[2] :].any()
    pieces = torch.where(sampled > 0, 1, 2)
    free = (1.5 * torch.nn.functional.leaky_relu(sampled, 0.2)).abs() <= 1.0
    assert torch.equal(rows[:, :, : sampled.shape[2]], torch.where(free, pieces, 0).to(torch.uint8))


def test_two_bits_a_sample_and_the_filters_are_all_that_is_kept():
    x, bias = draw(2, 8, 16, 16).requires_grad_(), draw(8, seed=1).requires_grad_()
    kept = {}

    def note(saved):
        kept[saved.data_ptr()] = saved.numel() * saved.element_size()
        return saved

    with torch.autograd.graph.saved_tensors_hooks(note, lambda saved: saved):
        y = ops.filtered_lrelu(x, exact(LONG), exact(LONG), bias, up=4, down=2, padding=11)
        wanted = 2 * 8 * (75 + 1) // 4 * 75 + 2 * 8 * len(LONG)  # (16 * 4 + 22 - 11)^2 samples
        assert sum(kept.values()) == wanted
        torch.autograd.grad(y.sum(), x, torch.ones((), requires_grad=True).double(), create_graph=True)
        assert sum(kept.values()) <= wanted + 8  # and the factor of the sum


def test_nothing_is_kept_where_no_gradient_is_wanted():
    signs = torch.ops.hrgan.filtered_lrelu(
        draw(1, 2, 4, 4), exact(SHORT), exact(SHORT), None, 1, 1, [2] * 4, False, 1.0, 0.2, -1.0, False
    )[1]
    assert signs.numel() == 0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_views_and_images_of_nothing_and_what_is_not_a_number(layout):
    x = draw(4, 6, 10, 24)[::2, 1:5, ::3, ::2]
    how = {"up": 2, "down": 2, "padding": 8}
    y = ops.filtered_lrelu(x, exact(SHORT), exact(SHORT), **how)
    torch.testing.assert_close(y, filtered_lrelu_reference(x, exact(SHORT), exact(SHORT), **how))
    assert ops.filtered_lrelu(x[:0], SHORT, SHORT, **how).shape == (0, *y.shape[1:])
    x = torch.tensor([float("nan"), float("inf"), -float("inf"), 0.0]).expand(1, 20, 2, 4)
    x = x.contiguous(memory_format=layout)
    for clamp in (None, 2.0):
        y, plain = (
            form(x, None, None, clamp=clamp) for form in (ops.filtered_lrelu, filtered_lrelu_reference)
        )
        torch.testing.assert_close(y, plain, equal_nan=True)


BAD = {
    "padded image smaller than the filters": {"padding": -1},
    "up=5, down=1; allowed: 1 to 4": {"up": 5},
    "up=1, down=0; allowed: 1 to 4": {"down": 0},
    "allowed: one number, or": {"padding": [1, 2]},
    "clamp=-1": {"clamp": -1},
    "bias torch.float32 \\(3,\\) does not fit the channels": {"bias": torch.zeros(3)},
    "takes floating-point \\[N, C, H, W\\], not torch.int64": {
        "x": torch.zeros(1, 2, 6, 6, dtype=torch.long)
    },
    "not torch.float32 \\(2, 6, 6\\)": {"x": torch.zeros(2, 6, 6)},
    "up_filter of shape \\(40,\\); allowed": {"up_filter": torch.ones(40)},
    "down_filter of shape \\(2, 0\\); allowed": {"down_filter": torch.ones(2, 0)},
    "not torch.int64": {"down_filter": torch.ones(3, dtype=torch.long)},
    "not torch.float32 that requires one": {"up_filter": torch.ones(3, requires_grad=True)},
}


@pytest.mark.parametrize("message", BAD)
@pytest.mark.parametrize("backend", ["native", "reference"])
def test_what_does_not_fit_is_refused(message, backend):
    ops.use(backend, devices=("cpu",))
    given = {"x": torch.zeros(1, 2, 6, 6), "up_filter": torch.ones(3), "down_filter": torch.ones(3)}
    with pytest.raises(ValueError, match=message):
        ops.filtered_lrelu(**given | BAD[message])


def test_filters_have_no_gradient_below_the_public_function():
    f = torch.ones(3, dtype=torch.float64, requires_grad=True)
    with pytest.raises(RuntimeError, match="filters have no gradient"):
        torch.ops.hrgan.filtered_lrelu(
            draw(1, 2, 4, 4), f, f, None, 1, 1, [2] * 4, False, 1.0, 0.2, -1.0, False
        )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_registration_holds_what_pytorch_asks_of_an_operation(layout):
    x, f = draw(2, 3, 5, 6, layout=layout).requires_grad_(), exact(SHORT)
    how = 2, 2, [5, 4, 6, 3], False
    call = torch.ops.hrgan.filtered_lrelu
    torch.library.opcheck(call.default, (x, f, f, draw(3, seed=1), *how, 1.4, 0.2, 1.0, True))
    signs = call(x, f, f, None, *how, 1.4, 0.2, 1.0, True)[1]
    call = torch.ops.hrgan.filtered_by_signs
    torch.library.opcheck(call.default, (x, f, f, signs, 2, 2, how[2], [-1, 2], True, 1.4, 0.2))


def test_torch_compile_sees_one_graph():
    def run(x, b):
        return ops.filtered_lrelu(x, exact(SHORT), exact(SHORT), b, up=2, down=2, padding=7).square().sum()

    x, b = draw(2, 4, 6, 6).requires_grad_(), draw(4, seed=1).requires_grad_()
    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    ours, theirs = (torch.autograd.grad(call(x, b), (x, b)) for call in (compiled, run))
    torch.testing.assert_close(ours, theirs)
