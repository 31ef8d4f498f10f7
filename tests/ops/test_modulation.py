"""Resampled and modulated convolutions against their slow twins."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck, gradgradcheck

import ops


@pytest.fixture(params=["reference", "native"], autouse=True)
def _backend(request):
    """Plain and compiled operations keep the same promises."""
    ops.use(request.param, devices=("cpu",))
    yield
    ops.use("auto", devices=("cpu",))


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize(("up", "down"), [(1, 1), (2, 1), (1, 2), (4, 1), (1, 4)])
@pytest.mark.parametrize("taps", [[1, 3, 3, 1], [1, 2, 1], [1.0, 2.0, 5.0, 1.0], None])
@pytest.mark.parametrize("groups", [1, 2])
def test_conv2d_resample_is_its_three_steps(kernel, up, down, taps, groups):
    f = None if taps is None or up == down == 1 else ops.setup_filter(taps).double()
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 8, 8, dtype=torch.float64, generator=g)
    weight = torch.randn(6, 4 // groups, kernel, kernel, dtype=torch.float64, generator=g)
    got = ops.conv2d_resample(x, weight, f=f, up=up, down=down, padding=kernel // 2, groups=groups)
    width, pad = 1 if f is None else f.shape[0], kernel // 2
    if up > 1:
        before, after = pad + (width + up - 1) // 2, pad + (width - up) // 2
    else:
        before, after = pad + (width - down + 1) // 2, pad + (width - down) // 2
    want = ops.upfirdn2d(x, f, up=up, padding=(before, after, before, after), gain=up * up)
    want = F.conv2d(want, weight, groups=groups)[:, :, ::down, ::down]
    assert got.shape == (2, 6, 8 * up // down, 8 * up // down)
    torch.testing.assert_close(got, want)


def test_conv2d_resample_refuses_both_directions():
    with pytest.raises(ValueError, match="one of them must be 1"):
        ops.conv2d_resample(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 1, 1), up=2, down=2)


def sample_by_sample(x, weight, styles, *, demodulate, up, f):
    rows = []
    for image, style in zip(x, styles, strict=True):
        w = weight * style[None, :, None, None]
        if demodulate:
            w = w / (w.square().sum(dim=[1, 2, 3], keepdim=True) + 1e-8).sqrt()
        rows.append(ops.conv2d_resample(image[None], w, f=f, up=up, padding=weight.shape[2] // 2))
    return torch.cat(rows)


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("up", [1, 2])
@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("scale", [None, 0.7])
def test_modulated_conv2d_is_one_convolution_a_sample(kernel, up, demodulate, fused, scale):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(3, 4, 5, 5, dtype=torch.float64, generator=g)
    weight = torch.randn(6, 4, kernel, kernel, dtype=torch.float64, generator=g)
    styles = torch.randn(3, 4, dtype=torch.float64, generator=g)
    noise = torch.randn(3, 1, 5 * up, 5 * up, dtype=torch.float64, generator=g)
    f = ops.setup_filter([1, 3, 3, 1]).double()
    got = ops.modulated_conv2d(
        x,
        weight,
        styles,
        noise=noise,
        up=up,
        padding=kernel // 2,
        resample_filter=f,
        demodulate=demodulate,
        scale=None if scale is None else torch.tensor(scale, dtype=torch.float64),
        fused=fused,
    )
    want = sample_by_sample(x, weight, styles, demodulate=demodulate, up=up, f=f)
    want = want * (scale or 1) + noise
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("fused", [True, False])
def test_modulated_conv2d_derivatives(fused):
    x = torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    styles = torch.randn(2, 2, dtype=torch.float64, requires_grad=True)
    f = ops.setup_filter([1, 2, 1]).double()

    def run(x, weight, styles):
        return ops.modulated_conv2d(x, weight, styles, up=2, padding=1, resample_filter=f, fused=fused)

    assert gradcheck(run, (x, weight, styles))
    assert gradgradcheck(run, (x, weight, styles))


@pytest.mark.parametrize("fused", [True, False])
def test_modulated_conv2d_in_bfloat16_survives_extreme_scales(fused):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2, 8, 6, 6, generator=g)
    weight = torch.randn(8, 8, 3, 3, generator=g)
    styles = torch.randn(2, 8, generator=g)
    want = ops.modulated_conv2d(x, weight, styles, padding=1)
    low = ops.modulated_conv2d(x.bfloat16(), weight * 1e20, styles * 1e15, padding=1, fused=fused)
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), want, atol=0.06, rtol=0.05)
