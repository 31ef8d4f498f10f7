"""Measures times on a device and sets its precision, by the same calls on a GPU and on a CPU."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from pipeline import float32
from tools.bench.timing import clock_of, wait


def median_ms(call: Callable[[], object], device: torch.device, rounds: int) -> float:
    """Returns the median milliseconds of `rounds` calls, after two to warm up, by the device's own events."""
    clock = clock_of(device.type)
    for _ in range(2):
        call()
    return 1e3 * statistics.median(clock(call) for _ in range(rounds))


def host_ms(call: Callable[[], object], device: torch.device, rounds: int) -> float:
    """Returns the least milliseconds until a call returns to the host, while the device may still be
    working."""
    taken = []
    for _ in range(rounds):
        wait(device)
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    wait(device)
    return 1e3 * min(taken)


def float32_products(*, tf32: bool) -> None:
    """Makes float32 convolutions and matrix products use TF32's ten bits of mantissa, or full float32, in the
    whole process."""
    float32.full_float32()
    if tf32:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
