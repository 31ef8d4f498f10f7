"""Resampling with `upfirdn2d`, alone and together with a convolution."""

from __future__ import annotations

from torch import Tensor

from ops.activation import affine_act
from ops.convolution import conv2d, conv_transpose2d
from ops.filtering import blur_act, sizes, upfirdn2d
from ops.reference import Activation


def filter2d(
    x: Tensor, f: Tensor, *, padding: int = 0, flip_filter: bool = False, gain: float = 1.0
) -> Tensor:
    """Filters each channel of x [N, C, H, W] and keeps the size; `padding` is added to every side."""
    height, width = sizes(f)
    pads = _pads(width, height, padding, up=1, down=1)
    return upfirdn2d(x, f, padding=pads, flip_filter=flip_filter, gain=gain)


def upsample2d(x: Tensor, f: Tensor, *, up: int = 2, flip_filter: bool = False, gain: float = 1.0) -> Tensor:
    """Upsamples by `up` and keeps the brightness: [N, C, H * up, W * up]."""
    height, width = sizes(f)
    pads = _pads(width, height, 0, up=up, down=1)
    return upfirdn2d(x, f, up=up, padding=pads, flip_filter=flip_filter, gain=gain * up * up)


def downsample2d(
    x: Tensor, f: Tensor, *, down: int = 2, flip_filter: bool = False, gain: float = 1.0
) -> Tensor:
    """Downsamples by `down`: [N, C, H / down, W / down]."""
    height, width = sizes(f)
    pads = _pads(width, height, 0, up=1, down=down)
    return upfirdn2d(x, f, down=down, padding=pads, flip_filter=flip_filter, gain=gain)


def conv2d_resample(
    x: Tensor,
    weight: Tensor,
    *,
    f: Tensor | None = None,
    up: int = 1,
    down: int = 1,
    padding: int = 0,
    groups: int = 1,
) -> Tensor:
    """Upsamples by inserting zeros, filters and convolves; or filters, convolves and downsamples.

    x: [N, Cin, H, W]. weight: [Cout, Cin / groups, kh, kw], applied to the upsampled image as F.conv2d does
    (correlation). f: the resampling filter, None for 1; unused if up = down = 1. up, down: at least one must
    be 1. The result is [N, Cout, H * up / down, W * up / down] if padding = k // 2. It equals that of the
    three steps one after the other, but they are done in the cheapest order (Karras et al. 2020a, appendix
    B).
    """
    x, blur = _convolved(x, weight, f, up, down, padding, groups)
    return x if blur is None else upfirdn2d(x, f, padding=blur, gain=up * up)


def conv2d_act(
    x: Tensor,
    weight: Tensor,
    scale: Tensor | None = None,
    shift: Tensor | None = None,
    noise: Tensor | None = None,
    *,
    f: Tensor | None = None,
    up: int = 1,
    down: int = 1,
    padding: int = 0,
    act: Activation = "linear",
    gain: float | None = None,
    clamp: float | None = None,
) -> Tensor:
    """Does `conv2d_resample`, then `affine_act`, in as few passes over memory as possible."""
    x, blur = _convolved(x, weight, f, up, down, padding, 1)
    if blur is None:
        return affine_act(x, scale, shift, noise, act=act, gain=gain, clamp=clamp)
    return blur_act(
        x, f, scale, shift, noise, padding=blur, filter_gain=up * up, act=act, gain=gain, clamp=clamp
    )


def _convolved(
    x: Tensor, weight: Tensor, f: Tensor | None, up: int, down: int, padding: int, groups: int
) -> tuple[Tensor, tuple[int, int, int, int] | None]:
    """Returns the result of the convolution and the padding of the filter that must follow it, or None."""
    if up > 1 and down > 1:
        raise ValueError(f"up={up} and down={down} at once; one of them must be 1")
    if up > 1:
        return _conv_up(x, weight, f, up, padding, groups)
    if down > 1:
        return _conv_down(x, weight, f, down, padding, groups), None
    return conv2d(x, weight, padding=padding, groups=groups), None


def _conv_down(x: Tensor, weight: Tensor, f: Tensor | None, down: int, padding: int, groups: int) -> Tensor:
    height, width = sizes(f)
    pads = _pads(width, height, padding, up=1, down=down)
    if weight.shape[2] == weight.shape[3] == 1:
        return conv2d(upfirdn2d(x, f, down=down, padding=pads), weight, groups=groups)
    return conv2d(upfirdn2d(x, f, padding=pads), weight, stride=down, groups=groups)


def _conv_up(
    x: Tensor, weight: Tensor, f: Tensor | None, up: int, padding: int, groups: int
) -> tuple[Tensor, tuple[int, int, int, int] | None]:
    kh, kw = weight.shape[2:]
    height, width = sizes(f)
    left, right, top, bottom = _pads(width, height, padding, up=up, down=1)
    if kh == kw == 1:
        x = conv2d(x, weight, groups=groups)
        return upfirdn2d(x, f, up=up, padding=(left, right, top, bottom), gain=up * up), None
    x = conv_transpose2d(x, _transposed(weight, groups), stride=up, groups=groups)
    # The transposed convolution is a full one: it has k - 1 more pixels before, and after the image k - 1
    # more less the up - 1 zeros that follow the last pixel.
    return x, (left - kw + 1, right - kw + up, top - kh + 1, bottom - kh + up)


def _transposed(weight: Tensor, groups: int) -> Tensor:
    """Returns the weight as conv_transpose2d takes it, [Cin, Cout / groups, kh, kw], flipped to correlate."""
    out, cin, kh, kw = weight.shape
    grouped = weight.reshape(groups, out // groups, cin, kh, kw).transpose(1, 2)
    return grouped.reshape(groups * cin, out // groups, kh, kw).flip([2, 3])


def _pads(width: int, height: int, padding: int, *, up: int, down: int) -> tuple[int, int, int, int]:
    """Returns the (left, right, top, bottom) that keep a resampled image centred, for any number of taps."""

    def sides(taps: int) -> tuple[int, int]:
        if up > 1:
            return padding + (taps + up - 1) // 2, padding + (taps - up) // 2
        return padding + (taps - down + 1) // 2, padding + (taps - down) // 2

    return (*sides(width), *sides(height))
