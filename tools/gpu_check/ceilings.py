"""Measures the highest rates of the device, and which calls make the host wait for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from tools.bench.timing import wait
from tools.gpu_check.clock import float32_products, median_ms
from tools.gpu_check.step import Conditions, Figure, figure


def ceilings(conditions: Conditions) -> Iterator[Figure]:
    """Measures the rate of a copy (bytes read and written) and of square matrix products of random numbers.
    sizes: copied (MiB), side, rounds."""
    sizes, device = conditions.sizes, conditions.device
    source = torch.randn(sizes["copied"] << 18, device=device)
    target = torch.empty_like(source)
    ms = median_ms(lambda: target.copy_(source), device, sizes["rounds"])
    yield figure("copy", 2 * 4e-6 * source.numel() / ms, "GB/s")
    for name, dtype, tf32 in (
        ("bfloat16 product", torch.bfloat16, False),
        ("TF32 product", torch.float32, True),
        ("float32 product", torch.float32, False),
    ):
        float32_products(tf32=tf32)
        side = sizes["side"]
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        ms = median_ms(lambda a=a, b=b: a @ b, device, sizes["rounds"])  # type: ignore[misc]
        yield figure(name, 2e-9 * side**3 / ms, "TFLOP/s")


def waits(conditions: Conditions) -> Iterator[Figure]:
    """Measures how many milliseconds each call keeps the host while the device has a queue of work. A call
    that takes as long as the queue waits for the device. sizes: side of the queued products, and their
    number."""
    device, sizes = conditions.device, conditions.sizes
    matrix = torch.randn(sizes["side"], sizes["side"], device=device).to(torch.bfloat16)

    def queue() -> None:
        for _ in range(sizes["products"]):
            matrix @ matrix

    queue()
    whole = _host(queue, lambda: wait(device), device)
    yield figure("the queue", whole, "ms")
    for name, probe in _probes(device).items():
        probe()
        kept = _host(queue, probe, device)
        yield figure(name, kept, "ms", waits=kept > whole / 2)


def _host(queue: Callable[[], None], probe: Callable[[], object], device: torch.device) -> float:
    wait(device)
    queue()
    began = time.perf_counter()
    probe()
    kept = time.perf_counter() - began
    wait(device)
    return 1e3 * kept


def _probes(device: torch.device) -> Mapping[str, Callable[[], object]]:
    """Returns calls that a training loop may make between two steps; `done` was computed long before."""
    done, places = torch.ones(4, device=device), torch.arange(4, device=device)
    page = torch.ones(1 << 16)
    pinned = page.pin_memory() if device.type == "cuda" else page.clone()
    generator = torch.Generator(device)

    def read_pinned() -> Tensor:
        pinned[:4].copy_(done, non_blocking=True)
        return pinned

    return {
        "tolist of what is done": done.tolist,
        "torch.tensor(1.0)": lambda: torch.tensor(1.0, device=device),
        "torch.full": lambda: torch.full((), 1.0, device=device),
        "to the device from pageable memory": lambda: page.to(device, non_blocking=True),
        "to the device from pinned memory": lambda: pinned.to(device, non_blocking=True),
        "to pinned memory": read_pinned,
        "index by a mask": lambda: done[done > 0],
        "index by places": lambda: done[places],
        "assignment at a place": lambda: done.__setitem__(1, torch.where(done[0] > 0, 1.0, 0.0)),
        "random numbers of a seeded generator": lambda: torch.randn(
            4, device=device, generator=generator.manual_seed(1)
        ),
    }
