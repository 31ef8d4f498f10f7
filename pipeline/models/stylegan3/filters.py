"""Low-pass filters of given cutoff and transition band, as SciPy defines them (Karras et al. 2021, appendix
C; Kaiser 1974)."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = npt.NDArray[np.float64]


def low_pass(taps: int, cutoff: float, width: float, rate: float, *, radial: bool = False) -> Tensor | None:
    """Returns a filter of sum 1, [taps] for both axes in turn or, if `radial`, [taps, taps], float32; None
    for a single tap.

    cutoff: where the response has fallen to half. width: the whole transition band. rate: samples per unit;
    all three in the same units, with cutoff + width / 2 at most rate / 2.
    """
    if taps == 1:
        return None
    places = np.arange(taps) - (taps - 1) / 2
    window = np.kaiser(taps, kaiser_beta(kaiser_attenuation(taps, width / (rate / 2))))
    if radial:
        response = jinc(np.hypot(places, places[:, None]) / rate, cutoff) * np.outer(window, window)
    else:
        response = np.sinc(2 * cutoff / rate * places) * window
    return torch.from_numpy(response / response.sum()).float()


def jinc(radius: Array, cutoff: float) -> Array:
    """Returns the impulse response of the ideal radially symmetric low-pass filter, J1(2 pi f r) / (pi r),
    up to a constant factor."""
    arguments = torch.from_numpy(2 * math.pi * cutoff * radius)
    response = torch.special.bessel_j1(arguments) / arguments
    limit: Array = torch.where(arguments == 0, 0.5, response).numpy()
    return limit


def kaiser_attenuation(taps: int, width: float) -> float:
    """Returns the attenuation in dB that a Kaiser window of `taps` taps reaches beyond a transition band of
    `width`, as a share of half the sampling rate (Kaiser 1974)."""
    return 2.285 * (taps - 1) * math.pi * width + 7.95


def kaiser_beta(attenuation: float) -> float:
    """Returns the Kaiser window's shape for an attenuation in dB (Kaiser 1974)."""
    if attenuation > 50:
        return 0.1102 * (attenuation - 8.7)
    if attenuation > 21:
        return 0.5842 * math.pow(attenuation - 21, 0.4) + 0.07886 * (attenuation - 21)
    return 0.0
