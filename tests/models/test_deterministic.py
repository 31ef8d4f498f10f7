"""What stands in for torch's own adjoints where only algorithms that repeat are asked for: the same maps."""

from __future__ import annotations

import os

import pytest
import torch
import torch.nn.functional as F

from pipeline.kernels import choose_kernels, deterministic
from pipeline.models.augment.reflect import reflect_pad
from pipeline.models.augment.warp import look_up, spread_in_order
from pipeline.models.biggan.blocks import largest, largest_in_order

G = torch.Generator().manual_seed(0)


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=G, dtype=torch.float64)


@pytest.mark.parametrize(("x", "y"), [(2, 3), (0, 4), (5, 0), (5, 4), (1, 1)])
def test_reflection_and_its_derivatives_are_torchs(x: int, y: int) -> None:
    images = normal(2, 3, 5, 6).requires_grad_()
    ours, theirs = reflect_pad(images, x, y), F.pad(images, (x, x, y, y), mode="reflect")
    assert torch.equal(ours, theirs)
    weight = normal(*ours.shape)
    (mine,), (other,) = (torch.autograd.grad((z * weight).sum(), images) for z in (ours, theirs))
    torch.testing.assert_close(mine, other)
    assert torch.autograd.gradgradcheck(lambda i: reflect_pad(i, x, y).square(), images)


def test_mirrors_in_mirrors_have_the_adjoint() -> None:
    images, x, y = normal(1, 1, 3, 4), 7, 5
    weight = normal(1, 1, 3 + 2 * y, 4 + 2 * x)
    image = images.clone().requires_grad_()
    (adjoint,) = torch.autograd.grad((reflect_pad(image, x, y) * weight).sum(), image)
    torch.testing.assert_close((adjoint * images).sum(), (reflect_pad(images, x, y) * weight).sum())


def test_spreading_in_order_is_the_adjoint_of_looking_up() -> None:
    shape = torch.Size((2, 3, 6, 5))
    images = normal(*shape).requires_grad_()
    grid = normal(2, 7, 8, 2) * 0.8  # within and beyond the border
    grid[0, 0, :4] = torch.tensor([[-1.0, -1], [1, 1], [-1, 1], [0, 1]])  # on it
    values = normal(2, 3, 7, 8)
    (expected,) = torch.autograd.grad((look_up(images, grid) * values).sum(), images)
    torch.testing.assert_close(spread_in_order(values, grid, shape), expected)


def test_the_largest_and_who_it_is() -> None:
    x = normal(2, 3, 6, 8).requires_grad_()
    weight = normal(2, 3, 3, 4)
    expected, found = largest(x), largest_in_order(x)
    assert torch.equal(found, expected)
    (a,), (b,) = (torch.autograd.grad((z * weight).sum(), x) for z in (expected, found))
    assert torch.equal(a, b)


def test_kernels_are_chosen_and_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    cudnn = torch.backends.cudnn
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    try:
        choose_kernels()
        assert (cudnn.benchmark, cudnn.deterministic) == (True, False)
        assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
        with deterministic():
            assert (cudnn.benchmark, cudnn.deterministic) == (False, True)
            assert torch.are_deterministic_algorithms_enabled()
            assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        assert (cudnn.benchmark, cudnn.deterministic) == (True, False)
        assert not torch.are_deterministic_algorithms_enabled()
        choose_kernels(deterministic=True)
        assert (cudnn.benchmark, cudnn.deterministic) == (False, True)
    finally:
        choose_kernels()
        cudnn.benchmark = False
