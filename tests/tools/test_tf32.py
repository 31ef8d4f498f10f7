"""TF32 as it is emulated: ten bits of mantissa, in every product, and what that does to short steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tools.research.tf32 import Tf32, factor, rounded, untrained


def test_rounding_keeps_ten_bits() -> None:
    """By numpy's own taking apart of numbers; halves go away from zero."""
    x = torch.randn(5000, generator=torch.Generator().manual_seed(0)) * 100
    mantissa, exponent = np.frexp(x.double().numpy())
    # 0.5 <= |mantissa| < 1, so that its first bit is the implied one.
    expected = np.ldexp(np.trunc(mantissa * 2**11 + np.copysign(0.5, mantissa)), exponent - 11)
    assert np.array_equal(rounded(x).double().numpy(), expected)
    halves = torch.tensor([1 + 2**-11, -1 - 2**-11, 1 + 2**-12, 0.0])
    assert rounded(halves).tolist() == [1 + 2**-10, -1 - 2**-10, 1.0, 0.0]
    assert rounded(torch.tensor([3])).tolist() == [3]


@pytest.mark.parametrize("recording", [False, True])
def test_every_product_takes_rounded_inputs(recording: bool) -> None:
    g = torch.Generator().manual_seed(1)
    a, b, x, k = (torch.randn(s, generator=g) for s in ((4, 5), (5, 3), (2, 4, 6, 6), (4, 4, 3, 3)))
    products = [
        (lambda a, b: a @ b, a, b),
        (lambda a, b: F.linear(a, b.T), a, b),
        (lambda a, b: torch.einsum("ij,jk->ik", a, b), a, b),
        (lambda a, b: torch.addmm(torch.zeros(3), a, b), a, b),
        (lambda a, b: torch.bmm(a[None], b[None]), a, b),
        (F.conv2d, x, k),
        (F.conv_transpose2d, x, k),
    ]
    for product, one, other in products:
        with torch.inference_mode(not recording):
            exact, expected = product(one, other), product(rounded(one), rounded(other))
            with Tf32():
                found = product(one, other)
        torch.testing.assert_close(found, expected)
        assert (found - exact).abs().max() > 1e-5


def test_short_steps_drown_in_it() -> None:
    assert factor(untrained(), "z", 2)["factor"] > 5
