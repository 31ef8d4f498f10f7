"""The operations that may have compiled forms, as everyone calls them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ops import _library, reference
from ops.reference import Activation

_library.define("bias_act", reference.bias_act)
_library.define("upfirdn2d", reference.upfirdn2d)


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
    """clamp(gain * act(x + b)): see `reference.bias_act`."""
    y: Tensor = _library.pick("bias_act", x.device.type)(
        x, b, dim=dim, act=act, alpha=alpha, gain=gain, clamp=clamp
    )
    return y


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
    """Upsample, pad, filter, downsample: see `reference.upfirdn2d`."""
    y: Tensor = _library.pick("upfirdn2d", x.device.type)(
        x, f, up=up, down=down, padding=padding, flip_filter=flip_filter, gain=gain
    )
    return y
