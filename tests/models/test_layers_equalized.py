"""Layers with an equalised learning rate against plain convolutions, and the scales they promise."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

import ops
from pipeline.models.layers import Conv2d, Linear


def leaky(x: torch.Tensor) -> torch.Tensor:
    """Leaky ReLU of slope 0.2 times sqrt 2, written out."""
    return math.sqrt(2) * torch.where(x > 0, x, 0.2 * x)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


# ---- scale at the start (Karras et al. 2018, section 4.1)


@pytest.mark.parametrize("inputs", [16, 400])
@pytest.mark.parametrize("rate", [1.0, 0.01])
def test_a_linear_layer_keeps_variance_whatever_its_width_and_rate(inputs: int, rate: float) -> None:
    layer = Linear(inputs, 4000, rate=rate)
    y = layer(torch.randn(64, inputs))
    assert y.var().item() == pytest.approx(1, rel=0.1)
    assert layer.weight.std().item() == pytest.approx(1 / rate, rel=0.05)


@pytest.mark.parametrize("act", ["lrelu", "relu", "swish"])
def test_a_bent_layer_keeps_about_the_second_moment(act: ops.Activation) -> None:
    y = Linear(256, 2000, act=act)(torch.randn(64, 256))
    # sqrt 2 is exact for relu; with slope .2 the moment is 1 + .2^2, for swish about 0.71.
    expected = {"relu": 1.0, "lrelu": 1.04, "swish": 0.711}[act]
    assert y.square().mean().item() == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("inputs", [4, 64])
@pytest.mark.parametrize("kernel", [1, 3])
def test_a_convolution_keeps_variance_whatever_its_fan_in(inputs: int, kernel: int) -> None:
    y = Conv2d(inputs, 128, kernel, bias=False)(torch.randn(16, inputs, 12, 12))
    inner = y[:, :, 1:-1, 1:-1]  # the border sees zeros
    assert inner.var().item() == pytest.approx(1, rel=0.15)


@pytest.mark.parametrize("resample", [{"up": 2}, {"down": 2}])
def test_resampling_keeps_the_level_of_a_flat_image(resample: dict[str, int]) -> None:
    """A constant stays what it is: the filter sums to 1, and stuffing zeros is made up for."""
    layer = Conv2d(1, 1, 1, bias=False, **resample)
    layer.weight.data.fill_(1)
    inner = layer(torch.full((1, 1, 16, 16), 3.0))[:, :, 3:-3, 3:-3]
    torch.testing.assert_close(inner, torch.full_like(inner, 3.0))


# ---- the learning-rate multiplier


@pytest.mark.parametrize("rate", [1.0, 0.01])
def test_adam_moves_the_effective_weights_rate_times_as_fast(rate: float) -> None:
    """Adam's first step moves every stored number by the learning rate, so what is used moves by
    rate * learning rate / sqrt(inputs), and a bias by rate * learning rate."""
    layer, step = Linear(25, 3, bias=0.5, rate=rate), 1e-3
    with torch.no_grad():
        bias = layer(torch.zeros(1, 25))[0]
        weight = layer(torch.eye(25)).T - bias[:, None]
    torch.testing.assert_close(bias, torch.full((3,), 0.5))  # the value asked for, at any rate
    optimizer = torch.optim.Adam(layer.parameters(), lr=step, betas=(0.0, 0.99), eps=1e-12)
    layer(torch.randn(4, 25)).square().sum().backward()
    optimizer.step()
    with torch.no_grad():
        moved_bias = layer(torch.zeros(1, 25))[0]
        moved = layer(torch.eye(25)).T - moved_bias[:, None] - weight
    torch.testing.assert_close(moved.abs(), torch.full((3, 25), rate * step / 5), rtol=0.05, atol=2e-7)
    torch.testing.assert_close((moved_bias - bias).abs(), torch.full((3,), rate * step), rtol=0.02, atol=1e-7)


# ---- values


@pytest.mark.parametrize("act", ["linear", "lrelu"])
def test_linear_is_its_formula(act: ops.Activation) -> None:
    layer = Linear(6, 4, act=act, rate=0.5)
    layer.bias.data.normal_()
    x = torch.randn(3, 2, 6)
    flat = torch.einsum("abi,oi->abo", x, layer.weight * 0.5 / math.sqrt(6)) + 0.5 * layer.bias
    torch.testing.assert_close(layer(x), leaky(flat) if act == "lrelu" else flat)


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("act", ["linear", "lrelu"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("gain", [1.0, 0.5])
def test_convolution_is_its_formula(kernel: int, act: ops.Activation, bias: bool, gain: float) -> None:
    layer = Conv2d(5, 7, kernel, act=act, bias=bias)
    if layer.bias is not None:
        layer.bias.data.normal_()
    x = torch.randn(2, 5, 6, 6)
    y = F.conv2d(x, layer.weight / math.sqrt(5 * kernel**2), layer.bias, padding=kernel // 2)
    torch.testing.assert_close(layer(x, gain=gain), gain * (leaky(y) if act == "lrelu" else y))


def test_downsampling_filters_first_and_then_keeps_every_other_pixel() -> None:
    layer = Conv2d(2, 3, 3, down=2, bias=False)
    x = torch.randn(1, 2, 8, 8)
    taps = torch.tensor([1.0, 3, 3, 1]) / 8
    blur = (taps[:, None] * taps).expand(2, 1, 4, 4)
    blurred = F.conv2d(F.pad(x, (2, 2, 2, 2)), blur, groups=2)  # 9 pixels: half a pixel on each side
    expected = F.conv2d(blurred, layer.weight / math.sqrt(18), stride=2)
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("gain", [1.0, 0.25])
def test_the_clamp_limits_the_output_and_follows_the_gain(gain: float) -> None:
    layer = Conv2d(3, 4, 3, act="lrelu", clamp=0.5)
    x = torch.randn(4, 3, 8, 8)
    y = leaky(F.conv2d(x, layer.weight / math.sqrt(27), padding=1))
    assert y.abs().max() > 0.5
    torch.testing.assert_close(layer(x, gain=gain), gain * y.clamp(-0.5, 0.5))


def test_a_convolution_works_in_the_type_of_its_input() -> None:
    layer = Conv2d(3, 4, 3, act="lrelu", down=2)
    y = layer(torch.randn(1, 3, 8, 8, dtype=torch.bfloat16))
    assert y.dtype == torch.bfloat16
    y.float().sum().backward()
    assert layer.weight.dtype == layer.weight.grad.dtype == torch.float32
