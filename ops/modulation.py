"""StyleGAN2's modulated convolution."""

from __future__ import annotations

import torch
from torch import Tensor

from ops.activation import affine_act
from ops.reference import Activation
from ops.resample import conv2d_act, conv2d_resample


def modulated_conv2d(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    *,
    noise: Tensor | None = None,
    bias: Tensor | None = None,
    up: int = 1,
    down: int = 1,
    padding: int = 0,
    resample_filter: Tensor | None = None,
    demodulate: bool = True,
    scale: Tensor | None = None,
    fused: bool = False,
    act: Activation = "linear",
    gain: float | None = None,
    clamp: float | None = None,
    eps: float = 1e-8,
) -> Tensor:
    """Returns clamp(gain * act(convolution + noise + bias)), where the weight of the convolution is scaled by
    each sample's style (Karras et al. 2020a, eqs. 1 and 3).

    x: [N, Cin, H, W]. weight: [Cout, Cin, k, k] float32. styles: [N, Cin] float32. noise: is broadcast to
    [N, 1, H', W']. bias: [Cout]. demodulate: whether to divide by the norm of the scaled weights. scale: a
    factor on the convolution, 0-d, which demodulation does not cancel; None for 1.
    fused: whether to scale weights and run one grouped convolution, which needs less memory. Otherwise
    activations are scaled before and after one ordinary convolution, which is equivalent, and faster for more
    than one sample on a CPU.
    """
    if demodulate and x.dtype in (torch.float16, torch.bfloat16):
        weight, styles = _normalised(weight, styles)
    factors = _demodulation(weight, styles, eps) if demodulate else None  # [N, Cout]
    if scale is not None:
        factors, styles = (None, styles * scale) if factors is None else (factors * scale, styles)
    if fused:
        y = _fused(x, weight, styles, factors, resample_filter, up, down, padding)
        plain = bias is None and noise is None and act == "linear" and gain is None and clamp is None
        return y if plain else affine_act(y, None, bias, noise, act=act, gain=gain, clamp=clamp)
    return conv2d_act(
        affine_act(x, styles),
        weight.to(x.dtype),
        factors,
        bias,
        noise,
        f=resample_filter,
        up=up,
        down=down,
        padding=padding,
        act=act,
        gain=gain,
        clamp=clamp,
    )


def _demodulation(weight: Tensor, styles: Tensor, eps: float) -> Tensor:
    """Returns 1 / sqrt(sum (s_i w_ijk)^2 + eps) of eq. 3, [N, Cout], without forming the scaled weights."""
    energy = weight.square().sum(dim=[2, 3])  # [Cout, Cin]
    return (styles.square() @ energy.t() + eps).rsqrt()


def _normalised(weight: Tensor, styles: Tensor) -> tuple[Tensor, Tensor]:
    """Returns weight and styles scaled so that their products stay in range; demodulation cancels the scales
    (Karras et al. 2020b, appendix D.1)."""
    fan_in = weight[0].numel()
    weight = weight * (fan_in**-0.5 / weight.abs().amax(dim=[1, 2, 3], keepdim=True).clamp_min(1e-12))
    return weight, styles / styles.abs().amax(dim=1, keepdim=True).clamp_min(1e-12)


def _fused(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    scale: Tensor | None,
    f: Tensor | None,
    up: int,
    down: int,
    padding: int,
) -> Tensor:
    n = x.shape[0]
    w = weight[None] * styles[:, None, :, None, None]  # [N, Cout, Cin, k, k]
    if scale is not None:
        w = w * scale[:, :, None, None, None]
    y = conv2d_resample(
        x.reshape(1, -1, *x.shape[2:]),
        w.reshape(-1, *weight.shape[1:]).to(x.dtype),
        f=f,
        up=up,
        down=down,
        padding=padding,
        groups=n,
    )
    return y.reshape(n, -1, *y.shape[2:])
