"""Modulated layers against explicit weights of each image, and the unit variance that demodulation gives."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from pipeline.models.layers import ModulatedConv2d, ToImage


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def scattered(layer: torch.nn.Module) -> None:
    """Away from the start, where biases and noise strengths are zero and hide their own errors."""
    for parameter in layer.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)


def explicit(layer: ModulatedConv2d, x: torch.Tensor, w: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """One image after another: scale, normalise, convolve (Karras et al. 2020a, eqs. 1 to 3)."""
    rows = []
    for image, latent, own in zip(x, w, noise, strict=True):
        style = layer.affine.weight @ latent / math.sqrt(len(latent)) + layer.affine.bias
        weight = layer.weight * style[None, :, None, None]
        weight = weight / weight.flatten(1).norm(dim=1)[:, None, None, None]
        edge = layer.weight.shape[2] // 2
        image = F.pad(image, (edge,) * 4) if layer.up == 1 else image
        if layer.up == 2:  # zeros around the whole, none between the filter and the convolution
            wide = torch.zeros(1, image.shape[0], 2 * image.shape[1], 2 * image.shape[2])
            wide[:, :, ::2, ::2] = image
            taps = torch.tensor([1.0, 3, 3, 1]) / 4  # sum 2: stuffing halves the level along each axis
            blur = (taps[:, None] * taps).expand(image.shape[0], 1, 4, 4)
            wide = F.pad(wide, (2 + edge, 1 + edge, 2 + edge, 1 + edge))
            image = F.conv2d(wide, blur, groups=image.shape[0])[0]
        y = F.conv2d(image[None], weight)
        y = y + layer.noise_strength * own + layer.bias[:, None, None]
        rows.append(math.sqrt(2) * torch.where(y > 0, y, 0.2 * y))
    return torch.cat(rows)


@pytest.mark.parametrize("up", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3])
def test_a_layer_is_one_convolution_an_image(up: int, kernel: int) -> None:
    layer = ModulatedConv2d(5, 7, 6, (8, 8), kernel=kernel, up=up)
    scattered(layer)
    x, w, noise = torch.randn(3, 5, 8 // up, 8 // up), torch.randn(3, 6), torch.randn(3, 1, 8, 8)
    torch.testing.assert_close(layer(x, w, noise), explicit(layer, x, w, noise), rtol=1e-4, atol=1e-5)
    stored = layer(x, w, layer.noise_const)  # the same for every image
    assert layer.noise_const is not None
    same = layer.noise_const.expand(3, 1, 8, 8)
    torch.testing.assert_close(stored, explicit(layer, x, w, same), rtol=1e-4, atol=1e-5)


def test_styles_of_any_size_give_unit_variance() -> None:
    """Unit normal features, styles of three very different sizes: the expected variance stays 1."""
    layer = ModulatedConv2d(64, 256, 8, (16, 16), noise=False)
    layer.affine.weight.data *= 5
    w = torch.randn(3, 8) * torch.tensor([0.1, 1.0, 100.0])[:, None]
    x = torch.randn(3, 64, 16, 16).repeat(1, 1, 2, 2)
    y = layer(x, w, None)
    y = torch.where(y > 0, y, y / 0.2) / math.sqrt(2)  # before the leaky ReLU
    variances = y[:, :, 1:-1, 1:-1].var(dim=(1, 2, 3))
    torch.testing.assert_close(variances, torch.ones(3), rtol=0.05, atol=0)


def test_the_style_starts_at_one() -> None:
    layer = ModulatedConv2d(5, 7, 6, (8, 8))
    torch.testing.assert_close(layer.affine(torch.zeros(1, 6)), torch.ones(1, 5))


def test_noise_does_nothing_until_its_strength_is_learned() -> None:
    layer = ModulatedConv2d(5, 7, 6, (8, 8))
    x, w, noise = torch.randn(2, 5, 8, 8), torch.randn(2, 6), torch.randn(2, 1, 8, 8)
    assert torch.equal(layer(x, w, noise), layer(x, w, None))
    layer(x, w, noise).square().sum().backward()
    assert layer.noise_strength.grad != 0  # so it will be
    layer.noise_strength.data.fill_(1.0)
    assert not torch.allclose(layer(x, w, noise), layer(x, w, None))


def test_a_layer_without_noise_takes_none() -> None:
    layer = ModulatedConv2d(5, 7, 6, (8, 8), noise=False)
    names = [name for name, _ in (*layer.named_parameters(), *layer.named_buffers())]
    assert not [name for name in names if "noise" in name]
    x, w = torch.randn(2, 5, 8, 8), torch.randn(2, 6)
    assert torch.equal(layer(x, w, torch.randn(2, 1, 8, 8)), layer(x, w, None))


@pytest.mark.parametrize("gain", [1.0, 0.5])
def test_the_clamp_limits_the_output_and_follows_the_gain(gain: float) -> None:
    layer = ModulatedConv2d(5, 7, 6, (8, 8), clamp=0.6)
    x, w, noise = torch.randn(2, 5, 8, 8), torch.randn(2, 6), torch.zeros(2, 1, 8, 8)
    free = explicit(layer, x, w, noise)
    assert free.abs().max() > 0.6
    expected = gain * free.clamp(-0.6, 0.6)
    torch.testing.assert_close(layer(x, w, noise, gain=gain), expected, rtol=1e-4, atol=1e-5)


def test_the_image_output_is_not_demodulated() -> None:
    layer = ToImage(9, 3, 6)
    scattered(layer)
    x, w = torch.randn(4, 9, 5, 5), torch.randn(4, 6)
    styles = (w @ layer.affine.weight.T / math.sqrt(6) + layer.affine.bias) / 3
    expected = torch.einsum("ok,nk,nkhw->nohw", layer.weight[:, :, 0, 0], styles, x)
    torch.testing.assert_close(layer(x, w), expected + layer.bias[:, None, None], rtol=1e-4, atol=1e-5)
    clamped = ToImage(9, 3, 6, clamp=0.2)
    clamped.load_state_dict(layer.state_dict())
    torch.testing.assert_close(clamped(x, w), layer(x, w).clamp(-0.2, 0.2))


def test_the_image_output_keeps_variance_at_the_start() -> None:
    y = ToImage(128, 512, 6)(torch.randn(8, 128, 8, 8), torch.zeros(8, 6))
    assert y.var().item() == pytest.approx(1, rel=0.05)
