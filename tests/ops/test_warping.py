"""The grid of a warp: the compiled form against the plain one, and both against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

import ops
from ops import warping

HOW = {"taps": 12, "margin": 3, "centre": 5.1}
DTYPES = [torch.float32, torch.float64]


@pytest.fixture(autouse=True, params=["reference", "native"])
def _backend(request):
    before = ops.backend()
    ops.use(request.param, devices=("cpu",))
    yield
    ops.use(before, devices=("cpu",))


def affine(count, dtype, spread=1.0):
    """Rotations, scales and shifts that lead far outside the image."""
    random = torch.Generator().manual_seed(0)
    linear = torch.eye(2, dtype=dtype) + spread * torch.randn(count, 2, 2, generator=random, dtype=dtype)
    return linear, 20 * spread * torch.randn(count, 2, generator=random, dtype=dtype)


def in_pixels(grid, side):
    """Pixels, from the first one on, of shares of the upsampled image."""
    size, first = 2 * side + 4 * HOW["margin"], math.floor(HOW["centre"]) - 2 * HOW["margin"]
    places = (grid.double() + 1) / 2 * (size - 1) + first
    return (places - HOW["centre"]) / 2


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("side", [2, 7, 16, 33])
@pytest.mark.parametrize("spread", [0.0, 0.05, 1.0])
def test_sources_are_folded_into_the_image_and_its_margins(side, dtype, spread):
    linear, offset = affine(5, dtype, spread)
    grid = ops.warp_grid(linear, offset, (side, side), **HOW)
    count, half = 2 * side - 2 + HOW["taps"], (side - 1) / 2
    assert grid.shape == (5, count, count, 2)
    places = (torch.arange(count).double() - HOW["centre"]) / 2 - half
    target = torch.stack(torch.meshgrid(places, places, indexing="xy"), dim=-1)
    source = target @ linear.double().mT[:, None] + offset.double()[:, None, None] + half
    far = (source - half).abs() > half + HOW["margin"]
    # The angle whose cosine goes up and down once a period gives a triangle wave.
    wave = torch.acos(torch.cos(source * math.pi / (side - 1))) * (side - 1) / math.pi
    torch.testing.assert_close(
        in_pixels(grid, side), torch.where(far, wave, source), rtol=0, atol=2e-6 * float(source.abs().max())
    )
    assert far.any() or spread < 1.0
    assert not far.all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spread", [0.05, 1.0, 1e4])
def test_the_compiled_form_is_the_plain_one_to_the_bit(dtype, spread):
    for side in (2, 5, 64):
        linear, offset = affine(3, dtype, spread)
        found = ops.warp_grid(linear, offset, (side, side), **HOW)
        assert torch.equal(found, warping.warp_grid_reference(linear, offset, (side, side), **HOW))


def test_strides_empty_batches_and_other_filters():
    linear, offset = affine(4, torch.float32)
    turned = ops.warp_grid(linear.mT, offset.flip(0), (8, 8), taps=3, margin=0, centre=1.0)
    assert torch.equal(
        turned, ops.warp_grid(linear.mT.clone(), offset.flip(0).clone(), (8, 8), taps=3, margin=0, centre=1.0)
    )
    assert ops.warp_grid(linear[:0], offset[:0], (8, 8), **HOW).shape == (0, 26, 26, 2)


def test_no_gradient_is_silently_missing():
    linear, offset = affine(1, torch.float32)
    linear.requires_grad_()
    with pytest.raises(ValueError, match="no derivative"):
        ops.warp_grid(linear, offset, (4, 4), **HOW)
    with torch.no_grad():
        assert not ops.warp_grid(linear, offset, (4, 4), **HOW).requires_grad


def test_registrations_keep_torchs_rules():
    ops.use("native", devices=("cpu",))
    arguments = (*affine(2, torch.float32), 6, 12, 3, 5.1, 0.1, 0.2)
    torch.library.opcheck(torch.ops.hrgan.warp_grid.default, arguments)
    for linear, offset, said in (
        (torch.ones(2, 2), torch.ones(2, 2), r"\[N, 2, 2\]"),
        (torch.ones(2, 2, 2), torch.ones(3, 2), r"\[N, 2, 2\]"),
        (torch.ones(2, 2, 2), torch.ones(2, 2).double(), "offset Double"),
    ):
        with pytest.raises(RuntimeError, match=said):
            torch.ops.hrgan.warp_grid(linear, offset, *arguments[2:])
