"""Power iteration against the singular value decomposition, and gradients of what it divides."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck, gradgradcheck

import ops

SHAPES = [(6, 4), (5, 3, 3, 3), (7, 1, 1, 1), (1, 9)]


def draw(shape, seed=0, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    u = F.normalize(torch.randn(shape[0], dtype=torch.float64, generator=g), dim=0)
    return torch.randn(shape, dtype=torch.float64, generator=g).to(dtype), u.to(dtype)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_many_steps_find_the_largest_singular_value(shape):
    weight, u = draw(shape)
    sigma, u, v = ops.spectral_norm(weight, u, steps=500)
    left, values, right = torch.linalg.svd(weight.flatten(1), full_matrices=False)
    torch.testing.assert_close(sigma, values[0])
    torch.testing.assert_close(torch.outer(u, v), torch.outer(left[:, 0], right[0]))
    y, again, _ = ops.spectral_weight(weight, u)
    torch.testing.assert_close(again, sigma)
    torch.testing.assert_close(torch.linalg.matrix_norm(y.flatten(1), 2), torch.ones_like(sigma))


def test_one_step_is_algorithm_1():
    weight, start = draw((5, 3, 3, 3))
    sigma, u, v = ops.spectral_norm(weight, start)
    matrix = weight.flatten(1)
    want_v = matrix.t() @ start
    want_v = want_v / want_v.norm()
    want_u = matrix @ want_v
    want_u = want_u / want_u.norm()
    torch.testing.assert_close((u, v, sigma), (want_u, want_v, want_u @ matrix @ want_v))
    kept_sigma, kept, _ = ops.spectral_norm(weight, start, steps=0)
    assert kept is start
    torch.testing.assert_close(kept_sigma, start @ matrix @ want_v)


def test_a_step_agrees_with_torch():
    layer = torch.nn.utils.parametrizations.spectral_norm(torch.nn.Linear(4, 6, bias=False), eps=1e-12)
    weight = layer.parametrizations.weight.original.detach()
    start = layer.parametrizations.weight[0]._u.clone()
    y, _, u = ops.spectral_weight(weight, start, eps=1e-12)
    v = ops.spectral_norm(weight, start)[2]
    # torch takes u before v: its next u is ours of the v that it keeps.
    want_u = F.normalize(weight @ v, dim=0)
    torch.testing.assert_close(u, want_u)
    torch.testing.assert_close(y, weight / (u @ weight @ v))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_derivatives_flow_through_the_weight_alone(shape):
    weight, u = draw(shape)
    _, u, v = ops.spectral_norm(weight, u, steps=500)
    weight.requires_grad_()
    # At the fixed point u and v do not move to first order, so that finite differences see sigma alone.
    assert gradcheck(lambda w: ops.spectral_norm(w, u, steps=0)[0], (weight,), atol=1e-4)
    (grad,) = torch.autograd.grad(ops.spectral_norm(weight, u, steps=0)[0], weight)
    torch.testing.assert_close(grad, torch.outer(u, v).view(shape))


def divided(weight, u, v):
    return weight / (u @ weight.flatten(1) @ v)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_division_has_all_derivatives_of_the_plain_one(shape):
    weight, start = draw(shape)
    _, u, v = ops.spectral_norm(weight, start)
    dy, dd = torch.randn_like(weight), torch.randn_like(weight)

    def derivatives(run):
        w = weight.clone().requires_grad_()
        g = dy.clone().requires_grad_()
        y = run(w)
        (first,) = torch.autograd.grad(y, w, g, create_graph=True)
        second = torch.autograd.grad(first, (w, g), dd, create_graph=True)
        (third,) = torch.autograd.grad(second[0].pow(2).sum() + second[1].pow(2).sum(), w)
        return y, first, *second, third

    got = derivatives(lambda w: ops.spectral_weight(w, start)[0])
    torch.testing.assert_close(got, derivatives(lambda w: divided(w, u, v)))


def test_the_gradient_of_sigma_is_linear():
    weight, u = draw((5, 3, 2, 2))
    weight.requires_grad_()
    dsigma = torch.tensor(1.7, dtype=torch.float64, requires_grad=True)
    sigma, new, v = ops.spectral_norm(weight, u)
    (grad,) = torch.autograd.grad(sigma, weight, dsigma, create_graph=True)
    (back,) = torch.autograd.grad(grad.sum(), dsigma)
    torch.testing.assert_close(back, torch.outer(new, v).sum())
    assert not new.requires_grad
    assert not v.requires_grad


def test_gradgradcheck_of_both_results():
    weight, u = draw((3, 2, 2, 2))
    _, u, v = ops.spectral_norm(weight, u)

    class Frozen(torch.nn.Module):
        def forward(self, w):
            from ops.spectral import _Divided

            return _Divided.apply(w, u, v, torch.mv(w.detach().flatten(1), v))

    weight.requires_grad_()
    assert gradcheck(Frozen(), (weight,))
    assert gradgradcheck(Frozen(), (weight,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_low_precision_weights_keep_their_type_and_autocast_stays_out(dtype):
    weight, u = draw((8, 4, 3, 3), dtype=torch.float32)
    want = ops.spectral_weight(weight.to(dtype).float(), u)[0]
    low = weight.to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, sigma, new = ops.spectral_weight(low, u)
    assert (y.dtype, sigma.dtype, new.dtype) == (dtype, torch.float32, torch.float32)
    torch.testing.assert_close(
        y.float(), want, atol=4 * torch.finfo(dtype).eps, rtol=4 * torch.finfo(dtype).eps
    )
    y.float().sum().backward()
    assert low.grad.dtype == dtype


def test_nothing_to_divide_by_gives_no_nan_in_u_and_v():
    sigma, u, v = ops.spectral_norm(torch.zeros(3, 2), torch.ones(3))
    assert sigma == 0
    assert torch.isfinite(torch.cat([u, v])).all()


def test_a_vector_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"u of shape \(4,\).* weight \(3, 2\)"):
        ops.spectral_norm(torch.zeros(3, 2), torch.ones(4))
