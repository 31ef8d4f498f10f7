"""Tensors that show what is read or written outside of them."""

from __future__ import annotations

import torch

FLOAT, DOUBLE, BF16 = torch.float32, torch.float64, torch.bfloat16
TOLERANCE = {FLOAT: 2e-6, DOUBLE: 1e-13, BF16: 2**-8}
MARGIN = 64  # values before and after each tensor, NaN: what is read there shows, what is written too


def wide(dtype):
    return DOUBLE if dtype == DOUBLE else FLOAT


class Tensors:
    """Tensors between margins of NaN, in one layout; `offset` spoils their alignment."""

    def __init__(self, dtype, last=False, offset=0, seed=0):
        self.dtype, self.last, self.offset = dtype, last, offset
        self.random = torch.Generator().manual_seed(seed)
        self.made = []

    def empty(self, shape, dtype=None, image=True):
        numel = torch.Size(shape).numel()
        whole = torch.full((numel + 2 * MARGIN,), float("nan"), dtype=dtype or self.dtype)
        start = MARGIN + (self.offset if image else 0)
        part = whole[start : start + numel]
        self.made.append((whole, start, numel))
        if self.last and image and len(shape) == 4:
            n, c, h, w = shape
            return part.view(n, h, w, c).permute(0, 3, 1, 2)
        return part.view(shape)

    def normal(self, *shape):
        x = self.empty(shape)
        return x.copy_(torch.randn(shape, generator=self.random, dtype=DOUBLE))

    def operand(self, *shape):
        x = self.empty(shape, wide(self.dtype), image=False)
        return x.copy_(torch.randn(shape, generator=self.random, dtype=DOUBLE))

    def check_margins(self):
        for whole, start, numel in self.made:
            assert whole[:start].isnan().all()
            assert whole[start + numel :].isnan().all()


def close(got, want, dtype, summed=1):
    """Errors are relative to the largest value, and grow with the number of values summed."""
    scale = max(float(want.abs().max()), 1.0) * max(summed, 1) ** 0.5
    torch.testing.assert_close(got.double(), want, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * scale)
