"""The operations in plain PyTorch, which are the specification that every kernel is tested against.

All are differentiable twice. Images are [N, C, H, W]; x runs along the width and y along the height.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Activation = Literal["linear", "relu", "lrelu", "tanh", "sigmoid", "softplus", "swish"]

# Gains that preserve the second moment of a normal input, rounded as is customary (He et al. 2015, eq. 10;
# the leaky ReLU has the gain of the plain one); bounded activations have gain 1.
DEFAULT_GAIN: dict[str, float] = {
    "linear": 1.0,
    "relu": math.sqrt(2.0),
    "lrelu": math.sqrt(2.0),
    "tanh": 1.0,
    "sigmoid": 1.0,
    "softplus": 1.0,
    "swish": math.sqrt(2.0),
}
_HOMOGENEOUS = ("linear", "relu", "lrelu")  # act(gain * x) = gain * act(x) for gain > 0


def bias_act(
    x: Tensor,
    b: Tensor | None = None,
    *,
    dim: int = 1,
    act: Activation = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
) -> Tensor:
    """Returns clamp(gain * act(x + b)), elementwise, in the shape and type of x.

    b: [x.shape[dim]], added along `dim`. alpha: the slope of lrelu (0.2 if None). gain: None takes the
    default of the activation (`DEFAULT_GAIN`). clamp: the largest magnitude of the result; None for no limit.
    Raises ValueError for an unknown activation or a bias that does not fit.
    """
    if act not in DEFAULT_GAIN:
        raise ValueError(f"unknown activation {act!r}; allowed: {', '.join(DEFAULT_GAIN)}")
    if b is not None and b.shape != (x.shape[dim],):
        raise ValueError(f"bias of shape {tuple(b.shape)} does not fit dimension {dim} of {tuple(x.shape)}")
    gain = DEFAULT_GAIN[act] if gain is None else gain
    slope = 0.2 if alpha is None else alpha
    if b is not None:
        b = b.to(x.dtype).view([-1 if i == dim % x.ndim else 1 for i in range(x.ndim)])
    if act in _HOMOGENEOUS and gain > 0:
        # One pass over x instead of two: the gain is applied together with the bias.
        x = torch.add(b * gain, x, alpha=gain) if b is not None else (x * gain if gain != 1 else x)
        x = _activate(x, act, slope)
    else:
        x = _activate(x if b is None else x + b, act, slope)
        x = x * gain if gain != 1 else x
    return x if clamp is None else x.clamp(-clamp, clamp)


def affine_act(
    x: Tensor,
    scale: Tensor | None = None,
    shift: Tensor | None = None,
    noise: Tensor | None = None,
    *,
    act: Activation = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
) -> Tensor:
    """Returns clamp(gain * act(x * scale + shift + noise)) in the shape and type of x, which is [N, C, ...].

    These are the steps that follow a modulated convolution, or those of a conditional normalisation, in one
    operation. scale, shift: [C] or [N, C]. noise: [..., H, W] or [N, 1, H, W], the same for all channels. The
    other arguments are those of `bias_act`. Raises ValueError for an unknown activation or shapes that do not
    fit.
    """
    check_affine(x, scale, shift, noise)
    if scale is not None and noise is not None and scale.ndim == 2:
        x = torch.addcmul(noise.to(x.dtype), x, over_pixels(scale, x).to(x.dtype))
    else:
        x = x if scale is None else x * over_pixels(scale, x).to(x.dtype)
        x = x if noise is None else x + noise.to(x.dtype)
    if shift is not None and shift.ndim == 2:
        x, shift = x + over_pixels(shift, x).to(x.dtype), None
    return bias_act(x, shift, act=act, alpha=alpha, gain=gain, clamp=clamp)


def check_affine(x: Tensor, scale: Tensor | None, shift: Tensor | None, noise: Tensor | None) -> None:
    """Raises ValueError unless the operands of `affine_act` fit x."""
    shape = x.shape
    planes, pixels = (shape[1:2], shape[:2]), shape[2:]
    for name, value in (("scale", scale), ("shift", shift)):
        if value is not None and value.shape not in planes:
            raise ValueError(f"{name} of shape {tuple(value.shape)} fits no channels of {tuple(shape)}")
    if noise is not None:
        lead = noise.ndim - len(pixels)
        fits = noise.shape[lead:] == pixels and noise.shape[:lead] in ((), (1,), (1, 1), (shape[0], 1))
        if not fits:
            raise ValueError(f"noise of shape {tuple(noise.shape)} does not fit {tuple(shape)}")


def over_pixels(values: Tensor, x: Tensor) -> Tensor:
    """Returns values [C] or [N, C] as a view that broadcasts over the pixels of x."""
    return values.view(*values.shape, *[1] * (x.ndim - 2))


def _activate(x: Tensor, act: Activation, slope: float) -> Tensor:
    if act == "lrelu":
        return F.leaky_relu(x, slope)
    if act == "relu":
        return F.relu(x)
    if act == "tanh":
        return torch.tanh(x)
    if act == "sigmoid":
        return torch.sigmoid(x)
    if act == "softplus":
        return F.softplus(x)
    return x * torch.sigmoid(x) if act == "swish" else x


def setup_filter(
    taps: Sequence[float] | Sequence[Sequence[float]] | Tensor,
    *,
    normalize: bool = True,
    separable: bool = True,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Returns a float32 filter for `upfirdn2d`: [w], which stands for its outer product with itself, or [h,
    w].

    normalize: whether to scale the taps to sum 1. separable: whether 1-D taps stay 1-D; otherwise their outer
    product is returned. Raises ValueError for no taps, or taps of more than two dimensions.
    """
    f = torch.as_tensor(taps, dtype=torch.float32, device=device)
    f = f.reshape(1) if f.ndim == 0 else f
    if f.ndim > 2 or f.numel() == 0:
        raise ValueError(f"a filter has shape [w] or [h, w], not {tuple(f.shape)}")
    if f.ndim == 1 and not separable:
        f = torch.outer(f, f)
    return f / f.sum() if normalize else f


def upfirdn2d(
    x: Tensor,
    f: Tensor | None,
    *,
    up: int = 1,
    down: int = 1,
    padding: int | Sequence[int] = 0,
    flip_filter: bool = False,
    gain: float = 1.0,
) -> Tensor:
    """Upsamples by inserting zeros, pads, filters, and keeps every `down`-th pixel; returns [N, C, H', W'].

    W' = (W * up + left + right - taps) // down + 1, and likewise H'. f: [w] (separable), [h, w], or None for
    the identity. up: each pixel is followed by up - 1 zeros. padding: one number, or
    (left, right, top, bottom), in pixels of the upsampled image; negative numbers crop. flip_filter: False
    convolves, True correlates. gain: a factor on the result.
    Raises ValueError if the padded image is smaller than the filter.
    """
    left, right, top, bottom = (padding,) * 4 if isinstance(padding, int) else padding
    f = torch.ones(1, 1, device=x.device) if f is None else f
    height, width = (f.shape[0], f.shape[0]) if f.ndim == 1 else (f.shape[0], f.shape[1])
    if x.shape[3] * up + left + right < width or x.shape[2] * up + top + bottom < height:
        raise ValueError(
            f"padded image smaller than the {height}x{width} filter: {tuple(x.shape)}, {up=}, {padding=}"
        )
    kernel = f.to(x.dtype)
    if f.ndim == 1 and f.shape[0] <= 4:
        kernel = torch.outer(kernel, kernel)  # one pass of 16 taps is faster than two of 4
    if kernel.ndim == 2:
        return _filter(x, kernel * gain, up, down, (left, right, top, bottom), flip_filter)
    kernel = kernel * math.sqrt(gain)
    x = _filter(x, kernel[None, :], (1, up), (1, down), (left, right, 0, 0), flip_filter)
    return _filter(x, kernel[:, None], (up, 1), (down, 1), (0, 0, top, bottom), flip_filter)


def _filter(
    x: Tensor,
    kernel: Tensor,
    up: int | tuple[int, int],
    down: int | tuple[int, int],
    padding: tuple[int, int, int, int],
    flip_filter: bool,
) -> Tensor:
    """Filters each channel with one [h, w] kernel, without multiplying inserted zeros or dropped pixels."""
    up_y, up_x = (up, up) if isinstance(up, int) else up
    down_y, down_x = (down, down) if isinstance(down, int) else down
    channels = x.shape[1]
    if up_y == up_x == 1:
        kernel = kernel if flip_filter else kernel.flip([0, 1])  # conv2d correlates
        weight = kernel.expand(channels, 1, *kernel.shape)
        return F.conv2d(
            F.pad(x, padding) if any(padding) else x, weight, stride=(down_y, down_x), groups=channels
        )
    kernel = kernel.flip([0, 1]) if flip_filter else kernel  # conv_transpose2d convolves
    left, right = _crop(kernel.shape[1], up_x, padding[0], padding[1])
    top, bottom = _crop(kernel.shape[0], up_y, padding[2], padding[3])
    crop_x, crop_y = max(min(left, right), 0), max(min(top, bottom), 0)
    weight = kernel.expand(channels, 1, *kernel.shape)
    x = F.conv_transpose2d(x, weight, stride=(up_y, up_x), padding=(crop_y, crop_x), groups=channels)
    rest = (crop_x - left, crop_x - right, crop_y - top, crop_y - bottom)
    x = F.pad(x, rest) if any(rest) else x
    return x[:, :, ::down_y, ::down_x] if down_y * down_x > 1 else x


def _crop(taps: int, up: int, before: int, after: int) -> tuple[int, int]:
    """Returns how much to crop from a full transposed convolution to get the padded "valid" one."""
    return taps - 1 - before, taps - up - after


def minibatch_stddev(x: Tensor, group: int, channels: int = 1, *, eps: float = 1e-8) -> Tensor:
    """Appends `channels` maps of the batch's standard deviation (Karras et al. 2018, section 3); returns
    [N, C + channels, H, W].

    Groups are strided: group j holds samples j, j + N/group, ..., so that a rank which holds samples r::W of
    a global batch forms the same groups as the whole batch. The variance is biased, eps is added under the
    root, and the mean is taken over one of `channels` slices of C and over all pixels. Raises ValueError if N
    is not a multiple of `group`, or C not a multiple of `channels`.
    """
    check_groups(x, group, channels)
    n, c, h, w = x.shape
    y = x.reshape(group, n // group, channels, c // channels, h, w)  # [G, M, F, c, H, W]
    y = y.float() if x.dtype in (torch.float16, torch.bfloat16) else y
    deviation = (y.var(dim=0, unbiased=False) + eps).sqrt()  # [M, F, c, H, W]
    maps = deviation.mean(dim=[2, 3, 4]).to(x.dtype)  # [M, F]
    maps = maps.repeat(group, 1)[:, :, None, None].expand(-1, -1, h, w)  # [N, F, H, W]
    return torch.cat([x, maps], dim=1)


def check_groups(x: Tensor, group: int, channels: int) -> None:
    """Raises ValueError unless the images of `minibatch_stddev` form whole groups and slices."""
    n, c = x.shape[:2]
    if n % group:
        raise ValueError(f"minibatch stddev: {n} images are no multiple of the group of {group}")
    if c % channels:
        raise ValueError(f"minibatch stddev: {c} channels are no multiple of {channels}")


def pixel_norm(x: Tensor, *, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """Divides x by its root mean square along `dim` (Karras et al. 2018, section 4.2)."""
    return x * (x.square().mean(dim=dim, keepdim=True) + eps).rsqrt()
