"""The plain operations against numpy loops that zero-stuff, pad and convolve as the definition says."""

from __future__ import annotations

import itertools
import math
import re

import numpy as np
import pytest
import scipy.signal
import scipy.special
import torch
from torch.autograd import gradcheck, gradgradcheck

import ops
from ops import reference


@pytest.fixture(params=["reference", "native"], autouse=True)
def _backend(request):
    """Plain and compiled operations keep the same promises."""
    ops.use(request.param, devices=("cpu",))
    yield
    ops.use("auto", devices=("cpu",))


def upfirdn_by_definition(x, f, up, down, padding, flip, gain):
    """[N, C, H, W] numpy: stuff, pad or crop, convolve "valid", keep every down-th."""
    n, c, h, w = x.shape
    stuffed = np.zeros((n, c, h * up, w * up))
    stuffed[:, :, ::up, ::up] = x
    left, right, top, bottom = padding
    stuffed = np.pad(stuffed, ((0, 0), (0, 0), (max(top, 0), max(bottom, 0)), (max(left, 0), max(right, 0))))
    height, width = stuffed.shape[2:]
    stuffed = stuffed[:, :, max(-top, 0) : height - max(-bottom, 0), max(-left, 0) : width - max(-right, 0)]
    kernel = np.outer(f, f) if f.ndim == 1 else f
    kernel = kernel[::-1, ::-1] if flip else kernel
    out = [
        [scipy.signal.convolve2d(stuffed[i, j], kernel, mode="valid")[::down, ::down] for j in range(c)]
        for i in range(n)
    ]
    return np.array(out) * gain


FILTERS = {
    "even": torch.tensor([1.0, 3.0, 2.0, 0.5]),
    "odd": torch.tensor([1.0, 2.0, 4.0]),
    "long": torch.tensor([1.0, -2.0, 3.0, 0.5, 1.5, 2.5]),
    "flat": torch.tensor([[1.0, 2.0, 0.5], [0.3, -1.0, 4.0]]),
    "one": torch.tensor([[2.0]]),
}


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize(("up", "down"), [(1, 1), (2, 1), (1, 2), (2, 2), (3, 1), (1, 3), (3, 2), (2, 3)])
@pytest.mark.parametrize("padding", [(0, 0, 0, 0), (2, 1, 3, 0), (-1, 2, 0, -2), (7, 9, 8, 6)])
def test_upfirdn2d_is_its_definition(name, up, down, padding):
    f = FILTERS[name].double()
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for flip in (False, True):
        got = ops.upfirdn2d(x, f, up=up, down=down, padding=padding, flip_filter=flip, gain=1.7)
        want = upfirdn_by_definition(x.numpy(), f.numpy(), up, down, padding, flip, 1.7)
        np.testing.assert_allclose(got.numpy(), want, atol=1e-12)


def test_upfirdn2d_without_a_filter_only_resamples():
    x = torch.arange(12.0).reshape(1, 1, 3, 4)
    assert torch.equal(ops.upfirdn2d(x, None, down=2), x[:, :, ::2, ::2])
    assert torch.equal(ops.upfirdn2d(x, None, padding=-1), x[:, :, 1:-1, 1:-1])


def test_upfirdn2d_refuses_an_image_smaller_than_the_filter():
    with pytest.raises(ValueError, match="smaller than the 4x4 filter"):
        ops.upfirdn2d(torch.zeros(1, 1, 3, 3), torch.ones(4))


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize(("up", "down"), [(1, 1), (2, 1), (1, 2), (2, 3)])
def test_upfirdn2d_derivatives(name, up, down):
    x = torch.randn(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)

    def run(x):
        return ops.upfirdn2d(x, FILTERS[name].double(), up=up, down=down, padding=(3, 2, 2, 4))

    assert gradcheck(run, (x,))
    assert gradgradcheck(run, (x,))


def test_upfirdn2d_keeps_channels_last():
    x = torch.randn(2, 8, 6, 6).to(memory_format=torch.channels_last)
    f = ops.setup_filter([1, 3, 3, 1])
    for y in (ops.upsample2d(x, f), ops.downsample2d(x, f), ops.filter2d(x, f)):
        assert y.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("taps", [[1, 1], [1, 2, 1], [1, 3, 3, 1], [1, 4, 6, 4, 1]])
def test_resampling_keeps_a_constant_and_the_size(taps):
    f = ops.setup_filter(taps)
    x = torch.ones(1, 2, 12, 16)
    for y, size in [
        (ops.upsample2d(x, f), (24, 32)),
        (ops.downsample2d(x, f), (6, 8)),
    ]:
        assert y.shape[2:] == size
        torch.testing.assert_close(y[:, :, 2:-2, 2:-2], torch.ones_like(y)[:, :, 2:-2, 2:-2])
    assert ops.upsample2d(x, f, up=4).shape[2:] == (48, 64)


def test_resampling_keeps_the_centre():
    """A ramp, resampled, is the ramp at the new pixel centres (an even filter has no bias)."""
    f = ops.setup_filter([1, 3, 3, 1])
    ramp = torch.arange(16.0).expand(1, 1, 16, 16)
    up = ops.upsample2d(ramp, f)[0, 0, 16, 6:-6]
    torch.testing.assert_close(up, ((torch.arange(32.0) + 0.5) / 2 - 0.5)[6:-6])
    down = ops.downsample2d(ramp, f)[0, 0, 4, 2:-2]
    torch.testing.assert_close(down, ((torch.arange(8.0) + 0.5) * 2 - 0.5)[2:-2])


def test_setup_filter():
    assert ops.setup_filter([1, 3, 3, 1]).sum() == 1
    assert ops.setup_filter([1, 3], normalize=False).tolist() == [1, 3]
    assert ops.setup_filter([1, 3], separable=False).shape == (2, 2)
    with pytest.raises(ValueError, match=r"\[w\] or \[h, w\]"):
        ops.setup_filter([])


SCALAR = {
    "linear": lambda v: v,
    "relu": lambda v: np.maximum(v, 0),
    "lrelu": lambda v: np.where(v > 0, v, 0.2 * v),
    "tanh": np.tanh,
    "sigmoid": scipy.special.expit,
    "softplus": lambda v: np.log1p(np.exp(v)),
    "swish": lambda v: v * scipy.special.expit(v),
}


@pytest.mark.parametrize("act", SCALAR)
@pytest.mark.parametrize("gain", [None, 1.0, 0.5, -2.0, 0.0])
def test_bias_act_is_its_definition(act, gain):
    x = torch.randn(3, 4, 5, dtype=torch.float64)
    b = torch.randn(4, dtype=torch.float64)
    factor = reference.DEFAULT_GAIN[act] if gain is None else gain
    want = factor * SCALAR[act](x.numpy() + b.numpy()[:, None])
    np.testing.assert_allclose(ops.bias_act(x, b, act=act, gain=gain).numpy(), want, atol=1e-12)
    got = ops.bias_act(x, b, act=act, gain=gain, clamp=0.4).numpy()
    np.testing.assert_allclose(got, np.clip(want, -0.4, 0.4), atol=1e-12)
    np.testing.assert_allclose(
        ops.bias_act(x, act=act, gain=gain).numpy(), factor * SCALAR[act](x.numpy()), atol=1e-12
    )


def test_bias_act_along_another_dimension_and_slope():
    x, b = torch.randn(2, 3), torch.randn(3)
    want = torch.where(x + b > 0, x + b, 0.1 * (x + b))
    torch.testing.assert_close(ops.bias_act(x, b, dim=-1, act="lrelu", alpha=0.1, gain=1), want)


def test_bias_act_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match="unknown activation 'gelu'; allowed: linear"):
        ops.bias_act(torch.zeros(1, 1), act="gelu")
    with pytest.raises(ValueError, match="does not fit dimension 1"):
        ops.bias_act(torch.zeros(1, 2), torch.zeros(3))


@pytest.mark.parametrize("shape", [(2, 5), (1, 2, 5), (1, 1, 2, 5), (4, 1, 2, 5)])
def test_affine_act_takes_noise_that_is_the_same_for_all_channels(shape):
    x, noise = torch.zeros(4, 3, 2, 5), torch.randn(shape)
    torch.testing.assert_close(ops.affine_act(x, noise=noise), noise.expand(4, 3, 2, 5))


@pytest.mark.parametrize("shape", [(), (5,), (2, 1), (4, 2, 5), (2, 1, 2, 5), (4, 3, 2, 5), (1, 1, 1, 2, 5)])
def test_affine_act_refuses_other_noise(shape):
    with pytest.raises(ValueError, match=re.escape(f"noise of shape {shape} does not fit (4, 3, 2, 5)")):
        ops.affine_act(torch.zeros(4, 3, 2, 5), noise=torch.zeros(shape))


@pytest.mark.parametrize("shape", [(4,), (3, 4), (1, 3), (4, 3, 1)])
def test_affine_act_refuses_operands_that_fit_no_channels(shape):
    x, values = torch.zeros(4, 3, 2, 5), torch.zeros(shape)
    for name in ("scale", "shift"):
        said = re.escape(f"{name} of shape {shape} fits no channels of (4, 3, 2, 5)")
        with pytest.raises(ValueError, match=said):
            ops.affine_act(x, **{name: values})


@pytest.mark.parametrize("act", SCALAR)
def test_bias_act_derivatives(act):
    x = torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True)
    b = torch.randn(3, dtype=torch.float64, requires_grad=True)

    def run(x, b):
        return ops.bias_act(x, b, act=act, clamp=1.5)

    assert gradcheck(run, (x, b))
    assert gradgradcheck(run, (x, b))


def stddev_by_loop(x, group, channels):
    n, c, h, w = x.shape
    out = np.zeros((n, channels, h, w))
    groups = n // group
    for j, k in itertools.product(range(groups), range(channels)):
        members = [j + m * groups for m in range(group)]
        part = x[members][:, k * (c // channels) : (k + 1) * (c // channels)]
        out[members, k] = np.sqrt(part.var(axis=0) + 1e-8).mean()
    return np.concatenate([x, out], axis=1)


@pytest.mark.parametrize(("group", "channels"), [(1, 1), (2, 1), (4, 2), (8, 1), (8, 4)])
def test_minibatch_stddev_is_its_definition(group, channels):
    x = torch.randn(8, 4, 3, 2, generator=torch.Generator().manual_seed(0))
    got = ops.minibatch_stddev(x, group, channels)
    np.testing.assert_allclose(got.numpy(), stddev_by_loop(x.numpy(), group, channels), atol=1e-6)


def test_minibatch_stddev_groups_of_a_rank_are_those_of_the_whole_batch():
    x = torch.randn(16, 2, 2, 2)
    whole = ops.minibatch_stddev(x, 4)
    for rank in range(2):
        torch.testing.assert_close(ops.minibatch_stddev(x[rank::2], 4), whole[rank::2])


def test_minibatch_stddev_refuses_a_partial_group():
    with pytest.raises(ValueError, match="6 images are no multiple of the group of 4"):
        ops.minibatch_stddev(torch.zeros(6, 1, 2, 2), 4)


def test_minibatch_stddev_derivatives():
    x = torch.randn(4, 2, 2, 2, dtype=torch.float64, requires_grad=True)

    def run(x):
        return reference.minibatch_stddev(x, 2)

    assert gradcheck(run, (x,))
    assert gradgradcheck(run, (x,))


def test_pixel_norm():
    x = torch.randn(3, 8, 2, 2)
    got = ops.pixel_norm(x)
    torch.testing.assert_close(got.square().mean(dim=1), torch.ones(3, 2, 2))
    assert math.isfinite(ops.pixel_norm(torch.zeros(1, 4)).sum())
