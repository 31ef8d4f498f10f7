"""Derivatives of compiled operations as PyTorch runs them: no Python, and all that autograd offers."""

from __future__ import annotations

import sys
import threading
from functools import partial

import pytest
import torch
from torch.autograd import forward_ad, gradgradcheck
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode

import ops
from ops import reference

F4 = ops.setup_filter([1, 3, 3, 1]).double()


@pytest.fixture(autouse=True)
def _native():
    ops.use("native", devices=("cpu",))
    yield
    ops.use("auto", devices=("cpu",))


def draw(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator).to(dtype).requires_grad_()


def affine(x, *operands, act="lrelu"):
    return ops.affine_act(x, *operands, act=act, clamp=2.0)


def blur(x, f, *operands):
    return ops.blur_act(x, f, *operands, padding=(2, 1, 2, 1), act="softplus")


SCALE, SHIFT, NOISE = draw(4, 6, seed=1), draw(6, seed=2), draw(1, 1, 4, 4, seed=3)
OPERATIONS = {
    "affine_act": (affine, (SCALE, SHIFT, NOISE)),
    "swish": (partial(affine, act="swish"), (SCALE, SHIFT, NOISE)),
    "bias_act of rows": (lambda x, b: ops.bias_act(x.flatten(1), b, act="tanh"), (draw(96, seed=1),)),
    "blur_act": (blur, (F4, SCALE, SHIFT)),
    "upfirdn2d": (ops.upsample2d, (F4,)),
    "pixel_norm": (ops.pixel_norm, ()),
    "minibatch_stddev": (lambda x: ops.minibatch_stddev(x, 2, 3), ()),
    "batch_moments": (lambda x: torch.stack(ops.batch_moments(x)), ()),
}


@pytest.fixture(params=OPERATIONS.values(), ids=OPERATIONS)
def operation(request):
    """A function of x [4, 6, 4, 4] and of operands, and these."""
    return request.param


@pytest.fixture
def run(operation):
    """The same with its operands."""
    form, operands = operation
    return lambda x: form(x, *operands)


def gradient(y, x, dy, create_graph=False):
    """torch.autograd.grad without the Python around the engine."""
    engine = torch.autograd.Variable._execution_engine
    (dx,) = engine.run_backward(
        (y,), (dy,), create_graph, create_graph, (x,), allow_unreachable=True, accumulate_grad=False
    )
    return dx


def python_calls(act):
    """Names of the Python functions that run while `act` does."""
    seen = []
    sys.setprofile(lambda frame, event, _: seen.append(frame.f_code.co_name) if event == "call" else None)
    try:
        act()
    finally:
        sys.setprofile(None)
    return seen


def test_no_python_runs_in_a_backward_pass(run):
    x = draw(4, 6, 4, 4)
    y = run(x)
    dy, v = (torch.randn_like(t).requires_grad_() for t in (y, x))
    first = gradient(y, x, dy, create_graph=True)
    other = dy if not depends(first, x) else x
    assert python_calls(lambda: gradient(y, x, dy, create_graph=True)) == ["<lambda>", "gradient"]
    assert python_calls(lambda: gradient(first, other, v, create_graph=True)) == ["<lambda>", "gradient"]


def depends(y, x):
    return torch.autograd.grad(y.sum(), x, retain_graph=True, allow_unused=True)[0] is not None


def test_what_gets_no_gradient_gives_none(run):
    class Stop(torch.autograd.Function):
        @staticmethod
        def forward(ctx, y):
            return y.clone()

        @staticmethod
        def backward(ctx, dy):
            return None

    x = draw(4, 6, 4, 4)
    assert torch.autograd.grad(Stop.apply(run(x)).sum(), x, allow_unused=True) == (None,)
    dx = gradient(run(x), x, torch.ones_like(run(x)).requires_grad_(), create_graph=True)
    assert torch.autograd.grad(Stop.apply(dx).sum(), x, allow_unused=True) == (None,)


class Called(TorchDispatchMode):
    """Notes names and arguments of what is dispatched."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.calls.append((str(func), args))
        return func(*args, **(kwargs or {}))


def test_only_what_this_pass_asks_for_is_computed():
    x, scale, shift, noise = draw(4, 6, 4, 4), draw(4, 6), draw(6), draw(4, 1, 4, 4)
    y = ops.affine_act(x, scale, shift, noise, act="lrelu")
    blurred = ops.blur_act(x, F4, scale, shift, noise[..., 1:, 1:], padding=1, act="lrelu")
    for result in (y, blurred):
        with Called() as mode:
            torch.autograd.grad(result.sum(), x)
        needs = [args[-1] for name, args in mode.calls if name == "hrgan.affine_act_backward.default"]
        assert needs
        assert all(asked == [True, False, False, False] for asked in needs)


@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
def test_a_traced_penalty_computes_what_an_untraced_one_does(operation, mode):
    form, operands = operation

    def penalty(x, *operands):
        y = form(x, *operands)
        (dx,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        (d,) = torch.autograd.grad(dx.square().sum(), x)
        return d

    traced = make_fx(penalty, tracing_mode=mode)(draw(4, 6, 4, 4), *operands)
    assert len([node for node in traced.graph.nodes if str(node.target).startswith("hrgan.")]) > 2
    x = draw(4, 6, 4, 4, seed=9)
    assert torch.equal(traced(x, *operands), penalty(x, *operands))


def test_saved_tensors_go_through_hooks(run):
    kept = []

    def pack(tensor):
        kept.append(tensor.detach().clone())
        return len(kept) - 1

    x = draw(4, 6, 4, 4)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda place: kept[place]):
        (hooked,) = torch.autograd.grad(run(x).square().sum(), x)
    (plain,) = torch.autograd.grad(run(x).square().sum(), x)
    assert torch.equal(hooked, plain)
    assert kept


@pytest.mark.parametrize("name", ["swish", "pixel_norm", "minibatch_stddev", "batch_moments"])
def test_an_image_that_was_changed_in_place_is_noticed(name):
    x = draw(4, 6, 4, 4)
    image = x * 1
    form, operands = OPERATIONS[name]
    y = form(image, *operands).sum()
    with torch.no_grad():
        image.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


def test_gradients_are_the_same_on_another_thread(run):
    x, found = draw(4, 6, 4, 4), []
    y = run(x)

    def differentiate():
        found.extend(torch.autograd.grad(y.square().sum(), x, retain_graph=True))

    thread = threading.Thread(target=differentiate)
    thread.start()
    thread.join()
    differentiate()
    assert torch.equal(*found)


def test_nothing_is_kept_where_nothing_will_be_derived(run):
    x = draw(4, 6, 4, 4)
    with torch.no_grad():
        assert not run(x).requires_grad
    with torch.inference_mode():
        y = run(x.detach())
    assert y.is_inference()
    torch.testing.assert_close(y, run(x), check_layout=True)


@pytest.mark.parametrize("wants", [True, False])
def test_forward_mode_is_refused_not_forgotten(run, wants):
    with (
        forward_ad.dual_level(),
        pytest.raises(RuntimeError, match="jvp is not implemented"),
    ):
        run(forward_ad.make_dual(draw(4, 6, 4, 4).requires_grad_(wants), draw(4, 6, 4, 4).detach()))


@pytest.mark.parametrize("act", ["linear", "lrelu", "swish", "tanh"])
@pytest.mark.parametrize(
    "scale", [None, draw(7, seed=1), draw(5, 7, seed=1)], ids=["none", "of all", "of each"]
)
def test_rows_have_the_derivatives_of_images(act, scale):
    inputs = [t for t in (draw(5, 7), draw(7, seed=2), scale) if t is not None]

    def run(x, shift, scale=None, form=ops.affine_act):
        return form(x, scale, shift, act=act)

    ours, plain = (
        torch.autograd.grad(run(*inputs, form=form).square().sum(), inputs)
        for form in (ops.affine_act, reference.affine_act)
    )
    torch.testing.assert_close(ours, plain)
    assert gradgradcheck(run, inputs)


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("act", ["linear", "lrelu", "swish"])
def test_gradients_have_the_layout_of_the_image(act, last):
    layouts = torch.contiguous_format, torch.channels_last
    x = draw(4, 6, 4, 4).detach().contiguous(memory_format=layouts[last]).requires_grad_()
    for y in (
        ops.affine_act(x, SCALE, act=act),
        ops.blur_act(x, F4, act=act, padding=(2, 1, 2, 1)),
        ops.upfirdn2d(x, F4, padding=(2, 1, 2, 1)),
    ):
        dy = torch.ones_like(y).contiguous(memory_format=layouts[not last])
        (dx,) = torch.autograd.grad(y, x, dy)
        assert dx.stride() == x.stride()


def test_a_third_derivative_raises_whatever_it_is_of():
    x, scale = draw(2, 3, 3, 3), draw(2, 3, seed=1)
    for y in (
        ops.affine_act(x, scale, act="swish"),
        ops.blur_act(x, F4, scale, padding=2, act="sigmoid"),
    ):
        first = torch.autograd.grad(y.sum(), (x, scale), create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), (x, scale), create_graph=True)
        with pytest.raises(
            RuntimeError,
            match=r"^compiled operations are differentiable twice, those of ops\.backend=reference any",
        ):
            torch.autograd.grad(sum(g.sum() for g in second), x)
