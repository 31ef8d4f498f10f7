"""Normalisations as the GPU computes them, on emulated threads, against the plain form."""

from __future__ import annotations

import pytest
import torch

from ops import reference
from tests.ops.cuda_emulation.norms import norm
from tests.ops.cuda_emulation.tensors import BF16, DOUBLE, FLOAT, Tensors, close, wide

DTYPES = [FLOAT, BF16, DOUBLE]
# N, C, pixels, channels-last, offset, whether float32 goes by vectors.
SHAPES = {
    "small planes": (2, 5, (4, 4), False, 0, True),
    "odd planes": (2, 3, (5, 7), False, 0, False),
    "more channels than rows": (1, 70, (2, 4), False, 0, True),
    "several tiles": (2, 9, (12, 24), False, 0, True),
    "several tiles of single pixels": (1, 9, (9, 15), False, 0, False),
    "planes out of line": (2, 3, (8, 8), False, 1, False),
    "lines": (2, 3, (10,), False, 0, False),
    "more samples than a launch takes": (503, 2, (2, 2), False, 0, True),
    "no pixels": (5, 6, (), False, 0, False),
    "no pixels, vectors": (3, 520, (), False, 0, True),
    "one channel": (2, 1, (3, 3), True, 0, False),
    "channels": (2, 64, (5, 7), True, 0, True),
    "three channels": (2, 3, (9, 11), True, 0, False),
    "channels that fill no lanes": (2, 24, (6, 6), True, 0, True),
    "many odd channels": (1, 133, (4, 3), True, 0, False),
    "one pixel": (3, 12, (1, 1), True, 0, True),
    "channels out of line": (2, 16, (4, 4), True, 1, False),
}
# N, C, pixels, group, slices
STDDEV = {
    "groups of one": (3, 4, (4, 4), 1, 1),
    "one group": (4, 6, (4, 4), 4, 1),
    "two groups, two slices": (4, 6, (3, 5), 2, 2),
    "groups of four": (8, 10, (4, 4), 4, 2),
    "one pixel": (4, 7, (1, 1), 2, 1),
    "a slice a channel": (2, 3, (4, 3), 2, 3),
    "more than a block": (4, 66, (5, 7), 2, 2),
    "more maps than a block": (4, 2, (24, 23), 4, 1),
}


def by_plain(run, x, dy):
    """Plain values and gradient of x in double."""
    leaf = x.double().contiguous().requires_grad_()
    y = run(leaf)
    (dx,) = torch.autograd.grad(y, leaf, dy.double())
    return y.detach(), dx


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", SHAPES)
def test_pixel_norm(name, dtype):
    n, c, pixels, last, offset, vectors = SHAPES[name]
    tensors = Tensors(dtype, last, offset)
    x, dy = tensors.normal(n, c, *pixels), tensors.normal(n, c, *pixels)
    y, dx = tensors.empty(x.shape), tensors.empty(x.shape)
    last = last or not pixels
    by_vectors = norm("pixel_norm", x, y, eps=1e-2, last=last)
    assert norm("pixel_norm_backward", x, dx, dy=dy, eps=1e-2, last=last) == by_vectors
    if dtype != BF16:  # whose vectors are longer
        assert by_vectors == (vectors and dtype == FLOAT)
    want, want_dx = by_plain(lambda x: reference.pixel_norm(x, eps=1e-2), x, dy)
    close(y, want, dtype)
    close(dx, want_dx, dtype)
    tensors.check_margins()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("name", STDDEV)
def test_minibatch_stddev(name, last, dtype):
    n, c, pixels, group, slices = STDDEV[name]
    tensors = Tensors(dtype, last)
    x, dy = tensors.normal(n, c, *pixels), tensors.normal(n, c + slices, *pixels)
    y, dx = tensors.empty(dy.shape), tensors.empty(x.shape)
    how = {"group": group, "slices": slices, "eps": 1e-2, "last": last}
    norm("minibatch_stddev", x, y, **how)
    norm("minibatch_stddev_backward", x, dx, dy=dy, **how)
    want, want_dx = by_plain(lambda x: reference.minibatch_stddev(x, group, slices, eps=1e-2), x, dy)
    close(y, want, dtype)
    close(dx, want_dx, dtype)
    assert torch.equal(y[:, :c], x)
    tensors.check_margins()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", SHAPES)
def test_batch_moments(name, dtype):
    n, c, pixels, last, offset, vectors = SHAPES[name]
    tensors = Tensors(dtype, last, offset)
    x = tensors.normal(n, c, *pixels).mul_(0.01).add_(3)
    found = tensors.empty((2, c), wide(dtype), image=False)
    by_vectors = norm("batch_moments", x, found, last=last or not pixels)
    if dtype != BF16:
        assert by_vectors == (vectors and dtype == FLOAT)
    var, mean = torch.var_mean(x.double().transpose(0, 1).reshape(c, -1), dim=1, correction=0)
    exact = 1e-13 if dtype == DOUBLE else 1e-6
    torch.testing.assert_close(found[0].double(), mean, rtol=exact, atol=0)
    torch.testing.assert_close(found[1].double(), var, rtol=20 * exact, atol=1e-20)
    tensors.check_margins()


@pytest.mark.parametrize("last", [False, True])
def test_moments_of_large_means_of_nan_and_of_infinity(last):
    tensors = Tensors(FLOAT, last)
    x, found = tensors.normal(4, 8, 20, 20).mul_(1e-3).add_(1000), tensors.empty((2, 8), image=False)
    norm("batch_moments", x, found)
    want = x.double().var(dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(found[1].double(), want, rtol=1e-3, atol=0)
    x[1, 2, 3, 4], x[2, 3, 4, 5] = float("nan"), float("inf")
    norm("batch_moments", x, found)
    assert found[1].isnan().nonzero().flatten().tolist() == [2, 3]
    assert found[0, 2].isnan()
    assert not found[0, [0, 1, 4, 5, 6, 7]].isnan().any()


def test_small_deviations_beside_large_means():
    tensors = Tensors(FLOAT)
    x = tensors.normal(4, 8, 4, 4).mul_(1e-3).add_(100)
    y = tensors.empty((4, 9, 4, 4))
    norm("minibatch_stddev", x, y, group=4)
    want = reference.minibatch_stddev(x.double(), 4)[:, 8:]
    torch.testing.assert_close(y[:, 8:].double(), want, rtol=1e-3, atol=0)


@pytest.mark.parametrize("last", [False, True])
def test_results_do_not_depend_on_the_order_of_threads(last):
    tensors = Tensors(FLOAT, last)
    x, dy, dmaps = (tensors.normal(4, c, 5, 7) for c in (36, 36, 38))
    for op, grad in (("pixel_norm", None), ("pixel_norm_backward", dy)):
        results = [tensors.empty(x.shape) for _ in range(2)]
        for backwards, result in enumerate(results):
            norm(op, x, result, dy=grad, backwards=bool(backwards))
        assert torch.equal(*results)
    for op, grad in (("minibatch_stddev", None), ("minibatch_stddev_backward", dmaps)):
        results = [tensors.empty(x.shape if grad is not None else dmaps.shape) for _ in range(2)]
        for backwards, result in enumerate(results):
            norm(op, x, result, dy=grad, group=2, slices=2, backwards=bool(backwards))
        assert torch.equal(*results)
    results = [tensors.empty((2, 36), image=False) for _ in range(2)]
    for backwards, result in enumerate(results):
        norm("batch_moments", x, result, backwards=bool(backwards))
    assert torch.equal(*results)


def test_nan_and_infinity_pass_as_in_the_plain_form():
    x = torch.ones(1, 8, 2, 4)
    x[0, 3, 0, 0], x[0, 3, 0, 1] = float("nan"), float("inf")
    for images in (x, x.contiguous(memory_format=torch.channels_last)):
        y = torch.empty_like(images)
        norm("pixel_norm", images, y)
        torch.testing.assert_close(y, reference.pixel_norm(images), equal_nan=True)
