"""Compiled normalisations against the plain ones, closed forms and finite differences."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck, gradgradcheck

import ops
from ops import normalisation, reference

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
LAYOUTS = ["contiguous", "channels last", "view"]
# Odd sizes, one pixel, planes longer than a kernel's chunk, more channels than a vector, an empty batch.
SHAPES = [(4, 6, 5, 7), (4, 33, 1, 1), (8, 24, 16, 16), (4, 3, 70, 67), (4, 130, 9, 3), (0, 6, 4, 4)]


@pytest.fixture(autouse=True, params=["reference", "native"])
def backend(request):
    before = ops.backend()
    ops.use(request.param, devices=("cpu",))
    yield request.param
    ops.use(before, devices=("cpu",))


@pytest.fixture
def native(backend):
    if backend == "reference":
        ops.use("native", devices=("cpu",))


def draw(shape, dtype=torch.float64, layout="contiguous", seed=0):
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 2 + 1
    x = x.to(dtype)
    if layout == "channels last":
        return x.contiguous(memory_format=torch.channels_last)
    if layout == "view":
        wide = torch.zeros(*shape[:3], 2 * shape[3] + 1, dtype=dtype)
        wide[..., 1::2] = x
        return wide[..., 1::2]
    return x


def assert_as_exact(run, plain, *inputs):
    """`run` errs at most twice as much as plain PyTorch does against float64, and one rounding.

    Of float64 itself there is nothing more exact; what divides by small deviations magnifies its roundings.
    """
    exact = plain(*(x.double() for x in inputs))
    got, usual = run(*inputs), plain(*inputs)
    assert got.shape == exact.shape
    if not exact.numel():
        return
    scale = exact.abs().max()
    roundings = 2**16 if got.dtype == torch.float64 else 1
    allowed = 2 * (usual.double() - exact).abs().max() + roundings * torch.finfo(got.dtype).eps * scale
    assert (got.double() - exact).abs().max() <= allowed


def gradients(run):
    def both(x, dy):
        x = x.detach().requires_grad_()
        y = run(x)
        (dx,) = torch.autograd.grad(y, x, dy.to(y.dtype))
        return dx

    return both


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_pixel_norm_is_as_exact_as_torch(shape, layout, dtype):
    x, dy = draw(shape, dtype, layout), draw(shape, dtype, seed=1)
    assert_as_exact(ops.pixel_norm, reference.pixel_norm, x)
    assert_as_exact(gradients(ops.pixel_norm), gradients(reference.pixel_norm), x, dy)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("group", "channels"), [(4, 1), (2, 3), (1, 1)])
def test_minibatch_stddev_is_as_exact_as_torch(shape, layout, dtype, group, channels):
    channels = channels if shape[1] % channels == 0 else 1
    x = draw(shape, dtype, layout)
    dy = draw((shape[0], shape[1] + channels, *shape[2:]), dtype, seed=1)

    def plain(x):
        return reference.minibatch_stddev(x, group, channels)

    def run(x):
        return ops.minibatch_stddev(x, group, channels)

    assert_as_exact(run, plain, x)
    assert_as_exact(gradients(run), gradients(plain), x, dy)
    assert torch.equal(run(x)[:, : shape[1]], x)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES[:-1], ids=str)
def test_batch_moments_are_as_exact_as_torch(shape, layout, dtype):
    x = draw(shape, dtype, layout)
    for i in range(2):
        assert_as_exact(
            lambda x, i=i: ops.batch_moments(x)[i],
            lambda x, i=i: normalisation.batch_moments_reference(x)[i],
            x,
        )
    assert ops.batch_moments(x)[0].dtype == (dtype if dtype == torch.float64 else torch.float32)


def test_moments_survive_a_mean_far_from_zero():
    """Sums of squares would leave nothing of a variance a million times smaller than the squared mean."""
    x = torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(0)) + 4096
    for y in (x, x.contiguous(memory_format=torch.channels_last)):
        mean, var = ops.batch_moments(y)
        torch.testing.assert_close(mean, x.double().mean(dim=[0, 2, 3]).float())
        torch.testing.assert_close(
            var, x.double().var(dim=[0, 2, 3], correction=0).float(), rtol=1e-5, atol=0
        )


def test_shapes_that_are_no_images():
    x = draw((5, 7))
    torch.testing.assert_close(ops.pixel_norm(x, dim=-1), x / x.square().mean(dim=1, keepdim=True).sqrt())
    torch.testing.assert_close(ops.pixel_norm(x, dim=0), x / x.square().mean(dim=0, keepdim=True).sqrt())
    assert ops.pixel_norm(torch.zeros(2, 4)).abs().max() == 0
    mean, var = ops.batch_moments(x)
    torch.testing.assert_close((mean, var), (x.mean(dim=0), x.var(dim=0, correction=0)))
    volume = draw((2, 3, 4, 5)).unsqueeze(-1).contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(ops.pixel_norm(volume), ops.pixel_norm(volume.contiguous()))


@pytest.mark.parametrize("layout", ["contiguous", "channels last"])
def test_results_keep_the_layout(native, layout):
    x = draw((4, 6, 3, 5), layout=layout)
    wanted = torch.channels_last if layout == "channels last" else torch.contiguous_format
    for y in (ops.pixel_norm(x), ops.minibatch_stddev(x, 2)):
        assert y.is_contiguous(memory_format=wanted)


@pytest.mark.parametrize("layout", ["contiguous", "channels last"])
def test_results_do_not_depend_on_the_number_of_threads(layout):
    x = draw((8, 24, 48, 48), torch.float32, layout)
    found, threads = [], torch.get_num_threads()
    for number in (1, 3):
        torch.set_num_threads(number)
        found.append((ops.pixel_norm(x), ops.minibatch_stddev(x, 4, 2), *ops.batch_moments(x)))
    torch.set_num_threads(threads)
    if ops.backend() == "native":
        assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize(
    "run",
    [
        ops.pixel_norm,
        lambda x: ops.minibatch_stddev(x, 2),
        lambda x: ops.minibatch_stddev(x, 4, 2),
        ops.batch_moments,
    ],
    ids=["pixel_norm", "one group of 2", "groups of 4, 2 maps", "batch_moments"],
)
@pytest.mark.parametrize("layout", ["contiguous", "channels last"])
def test_derivatives(run, layout):
    x = draw((4, 4, 2, 3), layout=layout).requires_grad_()
    assert gradcheck(run, (x,))
    assert gradgradcheck(run, (x,))


def test_a_third_derivative_is_there(native):
    x = draw((4, 4, 2, 2)).requires_grad_()
    for run in (ops.pixel_norm, lambda x: ops.minibatch_stddev(x, 2)):

        def slope(x, run=run):
            (dx,) = torch.autograd.grad(run(x).pow(2).sum(), x, create_graph=True)
            return dx

        assert gradgradcheck(slope, (x,))


@pytest.mark.parametrize("per_sample", [True, False])
@pytest.mark.parametrize("layout", ["contiguous", "channels last"])
def test_conditional_norm_is_batch_norm_with_a_gain(per_sample, layout):
    x = draw((4, 6, 5, 7), layout=layout)
    gain, bias = (draw((4, 6) if per_sample else (6,), seed=seed) for seed in (1, 2))
    mean, var = ops.batch_moments(x)
    got = ops.conditional_norm_act(x, mean, var, gain, bias, act="relu")
    over = (4, 6, 1, 1) if per_sample else (1, 6, 1, 1)
    want = F.batch_norm(x, None, None, training=True) * gain.view(over) + bias.view(over)
    torch.testing.assert_close(got, want.relu())
    plain = ops.conditional_norm_act(x, mean, var)
    torch.testing.assert_close(plain, F.batch_norm(x, mean, var))


@pytest.mark.parametrize("gained", [True, False])
def test_conditional_norm_derivatives(gained):
    x, gain, bias = draw((3, 2, 2, 2)), draw((3, 2), seed=1), draw((3, 2), seed=2)
    inputs = [t.requires_grad_() for t in ([x, gain, bias] if gained else [x])]

    def run(x, gain=None, bias=None):
        return ops.conditional_norm_act(x, *ops.batch_moments(x), gain, bias, act="softplus")

    assert gradcheck(run, inputs)
    assert gradgradcheck(run, inputs)


def test_wrong_groups_are_refused():
    with pytest.raises(ValueError, match="6 images are no multiple of the group of 4"):
        ops.minibatch_stddev(torch.zeros(6, 1, 2, 2), 4)
    with pytest.raises(ValueError, match="3 channels are no multiple of 2"):
        ops.minibatch_stddev(torch.zeros(4, 3, 2, 2), 4, 2)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["pixel_norm", "minibatch_stddev", "batch_moments"])
def test_registrations(native, name, layout):
    x = draw((4, 6, 2, 3), torch.float32, layout).requires_grad_()
    more = {"pixel_norm": (1e-8,), "minibatch_stddev": (2, 3, 1e-8), "batch_moments": ()}[name]
    torch.library.opcheck(getattr(torch.ops.hrgan, name), (x, *more))
    if name != "batch_moments":
        dy = draw((4, 9 if "stddev" in name else 6, 2, 3), torch.float32).requires_grad_()
        torch.library.opcheck(getattr(torch.ops.hrgan, f"{name}_backward"), (dy, x, *more))


@pytest.mark.slow
def test_compiled_graphs_hold_the_operation(native):
    compiled = torch.compile(lambda x: ops.pixel_norm(x * 2) + 1, fullgraph=True)
    x = draw((2, 6, 3, 5), torch.float32).requires_grad_()
    (got,) = torch.autograd.grad(compiled(x).square().sum(), x)
    (want,) = torch.autograd.grad((ops.pixel_norm(x * 2) + 1).square().sum(), x)
    torch.testing.assert_close(got, want)
