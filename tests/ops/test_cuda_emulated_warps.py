"""The grid of a warp as the GPU computes it, on emulated threads, against the plain form."""

from __future__ import annotations

import ctypes

import pytest
import torch

from ops.warping import _to_shares, warp_grid_reference
from tests.ops.cuda_emulation.library import TYPES, library
from tests.ops.cuda_emulation.tensors import DOUBLE, FLOAT, Tensors


@pytest.mark.parametrize("dtype", [FLOAT, DOUBLE])
@pytest.mark.parametrize("spread", [0.0, 0.1, 1.0])
@pytest.mark.parametrize(
    ("count", "side", "taps", "margin", "centre"),
    [(3, 2, 12, 3, 5.1), (2, 9, 3, 0, 1.0), (1, 130, 12, 3, 5.1), (503, 2, 1, 1, 0.4)],
)
def test_warp_grid(count, side, taps, margin, centre, spread, dtype):
    tensors = Tensors(dtype)
    linear = tensors.normal(count, 2, 2).mul_(spread).add_(torch.eye(2, dtype=dtype))
    offset = tensors.normal(count, 2).mul_(20 * spread)
    places, half = 2 * side - 2 + taps, (side - 1) / 2
    grid = tensors.empty((count, places, places, 2))
    how = (ctypes.c_double * 5)(centre, half, half + margin, *_to_shares(side, margin, centre))
    pointers = [ctypes.c_void_p(t.data_ptr()) for t in (linear, offset, grid)]
    library().emulate_warp_grid(TYPES[dtype], *pointers, ctypes.c_int64(count), ctypes.c_int64(places), how)
    want = warp_grid_reference(
        linear.double(), offset.double(), (side, side), taps=taps, margin=margin, centre=centre
    )
    # What is folded keeps the rounding of the distance that it was folded over.
    reach = 1 + float(linear.abs().sum(dim=2).max() * places + offset.abs().max()) / side
    exact = torch.finfo(dtype).eps * 16 * reach
    torch.testing.assert_close(grid.double(), want, rtol=0, atol=exact)
    tensors.check_margins()
